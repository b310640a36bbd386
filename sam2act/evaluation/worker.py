"""A simulator in a process of its own, which may die or hang without harm to the evaluation.

The child handles one command at a time. The parent never waits for it without a deadline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.frames import HasFrame
from sam2act.core.registry import ENVS
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.base import Env, EnvConfig, EnvError, Filmable, filmable
from sam2act.envs.registry import make_env
from sam2act.envs.video import write_video
from sam2act.evaluation.scenes import EpisodeStart, SceneError
from sam2act.runtime.processes import (
    ignore_interrupts,
    ignoring_interrupts,
    single_threaded_children,
)

FILM_EVERY = 2  # recorded frames per frame of a film
FILM_RATE = 25.0  # frames per second; the simulation records 20 per second
_END_FRAMES = 15
_COLORS = {True: (40, 170, 80), False: (200, 50, 45)}  # success, failure
_BORDER = 6  # pixels
_STARTUP_SECONDS = 120.0  # more for the first reply of a process (imports, scene files)


# ------------------------------------------------------------------------------ messages
@dataclass(frozen=True)
class Begin:
    """Start an episode."""

    scene: EpisodeStart


@dataclass(frozen=True)
class Step:
    """Execute an action (A,) of a control mode."""

    action: np.ndarray
    control: str = KEYFRAME_POSE.mode


@dataclass(frozen=True)
class Finish:
    """The episode is over; write its film to `video`, if there is one to write."""

    success: bool
    video: Path | None


Command = Begin | Step | Finish


@dataclass(frozen=True)
class Began:
    """An episode has started."""

    variation: int
    seed: int | None
    instructions: list[str]
    observation: HasFrame


@dataclass(frozen=True)
class Stepped:
    """An action was executed."""

    observation: HasFrame
    reward: float
    terminal: bool


@dataclass(frozen=True)
class Failed:
    """The episode cannot go on (an `EnvError`); the simulator itself is well."""

    kind: str
    message: str


@dataclass(frozen=True)
class Finished:
    """A film is written, or there was none to write."""


@dataclass(frozen=True)
class Crashed:
    """The simulator raised what it should not.

    Attributes:
        kind: name of the exception.
        message: its text.
        trace: its traceback.
        user_error: the request itself is impossible.
        bad_scene: the demo cannot be used; others can.
    """

    kind: str
    message: str
    trace: str = ""
    user_error: bool = False
    bad_scene: bool = False


Reply = Began | Stepped | Failed | Finished | Crashed


# --------------------------------------------------------------------------------- child
class Worker:
    """Handles commands with the environments of one process, one per task."""

    def __init__(self, config: EnvConfig) -> None:
        self._config = config
        self._envs: dict[str, Env] = {}
        self._env: Env | None = None
        self._filming = False

    def handle(self, command: Command) -> Reply:
        """Carry out `command`; errors of the simulator become replies."""
        try:
            if isinstance(command, Begin):
                return self._begin(command)
            if isinstance(command, Step):
                return self._step(command)
            return self._finish(command)
        except EnvError as error:
            return Failed(type(error).__name__, str(error))
        except Exception as error:
            begins = isinstance(command, Begin)
            return Crashed(
                type(error).__name__,
                str(error),
                traceback.format_exc(),
                user_error=isinstance(error, ValueError) and begins,
                bad_scene=isinstance(error, (DemoError, SceneError)) and begins,
            )

    def close(self) -> None:
        """Close all environments."""
        for env in self._envs.values():
            env.close()

    def _begin(self, command: Begin) -> Began:
        task = command.scene.task
        if task not in self._envs:
            self.close()  # a process holds one scene at a time
            self._envs = {}
            self._envs = {task: make_env(dataclasses.replace(self._config, task=task))}
        self._env = env = self._envs[task]
        variation, seed, instructions, observation = command.scene.begin(env)
        self._filming = command.scene.film
        if self._filming:
            name = f"backend {self._config.backend}"
            filmable(env, name).start_film(FILM_EVERY)
        return Began(variation, seed, instructions, observation)

    def _step(self, command: Step) -> Stepped:
        assert self._env is not None
        result = self._env.step(command.action, command.control)
        return Stepped(result.observation, result.reward, result.terminal)

    def _finish(self, command: Finish) -> Finished:
        if self._filming and isinstance(self._env, Filmable):
            self._filming = False
            frames = self._env.stop_film()
            if command.video is not None and frames:
                write_video(command.video, frames + _ending(frames[-1], command.success), FILM_RATE)
        return Finished()


def _ending(frame: np.ndarray, success: bool) -> list[np.ndarray]:
    """The last frame held, framed green on success and red on failure."""
    framed = np.full_like(frame, _COLORS[success])
    framed[_BORDER:-_BORDER, _BORDER:-_BORDER] = frame[_BORDER:-_BORDER, _BORDER:-_BORDER]
    return [framed] * _END_FRAMES


def serve(
    connection: Connection, config: EnvConfig, target: str, build: Callable[[EnvConfig], Any]
) -> None:
    """Main function of the child: handle until the parent hangs up.

    `target` is that of the backend, which the parent may have registered by hand.
    """
    ignore_interrupts()
    ENVS.add(config.backend, target)
    worker = build(config)
    try:
        while True:
            command = connection.recv()
            started = time.monotonic()
            reply = worker.handle(command)
            connection.send((time.monotonic() - started, reply))
    except (EOFError, OSError):  # the parent has hung up, or is no more
        worker.close()


# -------------------------------------------------------------------------------- parent
class SimulatorProcess:
    """The parent's end: starts, commands, and if need be ends the process.

    Attributes:
        busy: whether a reply is due.
        used: seconds that the simulator has taken for the running episode.
    """

    def __init__(
        self,
        config: EnvConfig,
        time_limit: float,
        build: Callable[[EnvConfig], Any] = Worker,
    ) -> None:
        """Start a process.

        Args:
            config: of the environments; the task comes with each scene.
            time_limit: seconds that the simulator may take per episode; the first reply of a
                process may take two minutes more.
            build: makes the worker of the child (tests replace it).
        """
        self._config, self._limit, self._build = config, time_limit, build
        self._start()

    def _start(self) -> None:
        config = self._config
        context = multiprocessing.get_context("spawn")  # forking is unsafe once torch has threads
        self.connection, theirs = context.Pipe()
        target = ENVS.target(config.backend)
        self._process = context.Process(
            target=serve, args=(theirs, config, target, self._build), daemon=True
        )
        with single_threaded_children(), ignoring_interrupts():
            self._process.start()
        theirs.close()
        self.busy = False
        self.used = 0.0
        self._since = 0.0
        self._startup = _STARTUP_SECONDS

    def send(self, command: Command) -> None:
        """Give a command; a dead process shows when its reply is read."""
        if isinstance(command, Begin):
            self.used = 0.0
        with contextlib.suppress(OSError):
            self.connection.send(command)
        self.busy, self._since = True, time.monotonic()

    def receive(self) -> Reply:
        """The reply that is there to be read.

        Raises:
            EOFError: the process has died.
        """
        seconds: float
        reply: Reply
        try:
            seconds, reply = self.connection.recv()
        except OSError as error:
            raise EOFError("the simulator has died") from error
        if not self._startup:
            self.used += seconds  # as the child took it: replies may have waited for the network
        self.busy, self._startup = False, 0.0
        return reply

    def seconds_left(self) -> float:
        """Until the simulator counts as hung; negative afterwards."""
        limit = self._limit + self._startup
        return limit - self.used - (time.monotonic() - self._since)

    def restart(self) -> None:
        """End the process, whatever it does, and start another."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.kill()
        self._process.join()
