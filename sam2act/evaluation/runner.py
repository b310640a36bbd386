"""Runs evaluation episodes: several simulators, one actor that serves all that wait.

What an episode does depends on its scene and the actor alone, not on how many simulators there
are, nor on which of them runs it (see `EpisodeIds`).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import UserError
from sam2act.core.types import HasFrame
from sam2act.evaluation.actors import Actor, Turn
from sam2act.evaluation.results import (
    DIED,
    FULL_REWARD,
    HUNG,
    NEVER_BEGUN,
    TIMEOUT,
    UNSOLVED,
    Acting,
    EpisodeRow,
    Targets,
)
from sam2act.evaluation.scenes import EpisodeStart, with_remedy
from sam2act.evaluation.worker import (
    Began,
    Begin,
    Crashed,
    Failed,
    Finish,
    Reply,
    SimulatorProcess,
    Step,
    Stepped,
)

LOGGER = logging.getLogger(__name__)
ATTEMPTS = 2  # of an episode whose simulator dies or hangs
MOST_CRASHES = 3  # episodes in succession that may be lost to the simulator
DEMO_EXHAUSTED = "demo exhausted"


class EvaluationError(UserError):
    """The evaluation cannot go on; what is finished is stored."""


@dataclass(frozen=True)
class RunOptions:
    """How episodes are run.

    Attributes:
        episode_length: most actions per episode.
        success_threshold: least reward that counts as success.
        batch_size: rows of a forward pass of the policy, see `EpisodeIds`.
        folder: of the results; films of the scenes that want one go to `videos/` in it.
        film_suffix: .mp4, .gif or .webp.
        wording: which of an episode's instructions the policy is told.
        skip_bad: leave out demos whose scene the simulator refuses, instead of stopping.
    """

    episode_length: int = 25
    success_threshold: float = 1.0
    batch_size: int = 1
    folder: Path = Path()
    film_suffix: str = ".mp4"
    skip_bad: bool = False
    wording: int = 0


@dataclass
class _Running:
    """An episode under way in one simulator."""

    scene: EpisodeStart
    env_id: int
    started: float
    attempt: int = 1
    variation: int = NEVER_BEGUN
    seed: int | None = None
    instruction: str = ""
    steps: int = 0
    observation: HasFrame | None = None  # waits for an action
    row: EpisodeRow | None = None  # finished, waits for its film
    actions: list[np.ndarray] = field(default_factory=list)
    policy_seconds: float = 0.0


@dataclass
class EpisodeIds:
    """Ids by which the policy knows running episodes.

    A policy with a batch of fixed size gives id e the row e modulo that size, and the place within
    a batch can change the rounding. So the row follows from the number of the episode: the id is
    the lowest free one that is congruent to it.
    """

    batch_size: int
    taken: set[int] = field(default_factory=set)

    def take(self, episode: int) -> int:
        """An id for `episode`."""
        env_id = episode % self.batch_size
        while env_id in self.taken:
            env_id += self.batch_size
        self.taken.add(env_id)
        return env_id


class Runner:
    """One evaluation: scenes in, rows out."""

    def __init__(
        self, simulators: Sequence[SimulatorProcess], actor: Actor, options: RunOptions
    ) -> None:
        """Use `simulators`, which stay open, and `actor`."""
        self._simulators = list(simulators)
        self._actor, self._options = actor, options
        self._ids = EpisodeIds(options.batch_size)
        self._running: dict[int, _Running] = {}  # by number of the simulator
        self._lost: list[EpisodeRow] = []  # episodes in succession that simulators lost
        self._has_begun = False  # any episode
        self._patience = 0.0  # seconds; how long the last actions took to choose

    def run(self, scenes: Sequence[EpisodeStart]) -> Iterator[EpisodeRow]:
        """Rows in the order in which episodes end.

        Raises:
            EvaluationError: the request is impossible, or the simulator keeps failing.
        """
        waiting = deque(scenes)
        while waiting or self._running:
            for number in range(len(self._simulators)):
                if waiting and number not in self._running:
                    self._begin(number, waiting.popleft())
            yield from self._collect()
            self._act()
        yield from self._lost

    # --------------------------------------------------------------------------- starting
    def _begin(self, number: int, scene: EpisodeStart, attempt: int = 1) -> None:
        env_id = self._ids.take(scene.episode)
        self._actor.begin(env_id, scene)
        self._running[number] = _Running(scene, env_id, time.monotonic(), attempt)
        self._simulators[number].send(Begin(scene))

    # ------------------------------------------------------------------------- collecting
    def _collect(self) -> Iterator[EpisodeRow]:
        """Read replies until at least one episode wants an action or has ended.

        Others get as long as choosing actions takes: with a batch of fixed size a fuller one costs
        nothing.
        """
        deadline = None
        while True:
            busy = [n for n in self._running if self._simulators[n].busy]
            if not busy:
                return
            limit = min(self._simulators[n].seconds_left() for n in busy)
            if deadline is not None:
                limit = min(limit, deadline - time.monotonic())
            ready = wait([self._simulators[n].connection for n in busy], max(limit, 0.0))
            for number in busy:
                if self._simulators[number].connection in ready:
                    yield from self._read(number)
            yield from self._end_hung_ones()
            if deadline is None and ready:
                deadline = time.monotonic() + self._patience
            if deadline is not None and time.monotonic() >= deadline:
                return

    def _read(self, number: int) -> Iterator[EpisodeRow]:
        try:
            reply = self._simulators[number].receive()
        except EOFError:
            yield from self._give_up(number, DIED, "the simulator's process ended")
            return
        if isinstance(reply, Crashed):
            yield from self._crashed(number, reply)
        else:
            yield from self._take(number, reply)

    def _crashed(self, number: int, reply: Crashed) -> Iterator[EpisodeRow]:
        running = self._running[number]
        if running.row is not None:  # the episode was over: only its film is lost
            LOGGER.warning("%s could not be written: %s", running.row.video, reply.message)
            yield dataclasses.replace(running.row, video="")
            self._release(number)
        elif reply.bad_scene and self._options.skip_bad:
            LOGGER.warning("left out: %s", reply.message)
            self._release(number)
        elif reply.bad_scene:
            raise EvaluationError(with_remedy(reply.message))
        elif reply.user_error and not self._has_begun:
            raise EvaluationError(f"{running.scene.task}: {reply.message}")
        else:
            LOGGER.warning("%s: %s\n%s", running.scene.task, reply.message, reply.trace)
            yield from self._give_up(number, f"{DIED}: {reply.kind}", reply.message)

    def _end_hung_ones(self) -> Iterator[EpisodeRow]:
        for number in list(self._running):
            simulator = self._simulators[number]
            if simulator.busy and simulator.seconds_left() <= 0:
                message = f"no reply after {simulator.used:.0f} s and more of simulation"
                yield from self._give_up(number, HUNG, message)

    def _give_up(self, number: int, failure: str, message: str) -> Iterator[EpisodeRow]:
        """A simulator is gone: start another, and the episode once more if it was the first."""
        self._simulators[number].restart()
        running = self._running[number]
        self._release(number)
        if running.row is not None:  # only its film is lost
            yield dataclasses.replace(running.row, video="")
        elif running.attempt < ATTEMPTS:
            self._begin(number, running.scene, running.attempt + 1)
        else:
            row = self._row(running, 0.0, False, failure, message)
            # Told only once another episode has gone well: a simulator that is broken for good
            # must not fill the table with failures of the policy.
            self._lost.append(dataclasses.replace(row, video=""))
            if len(self._lost) >= MOST_CRASHES:
                raise EvaluationError(
                    f"{len(self._lost)} episodes in succession were lost, the last one (task "
                    f"{row.task}, episode {row.episode}) to {failure}: {message}"
                )

    # ------------------------------------------------------------------------- proceeding
    def _take(self, number: int, reply: Reply) -> Iterator[EpisodeRow]:
        running = self._running[number]
        if running.row is not None:  # the reply to `Finish`
            yield from self._lost
            self._lost.clear()
            yield running.row
            self._release(number)
        elif isinstance(reply, Failed):
            running.steps += running.variation != NEVER_BEGUN  # as published, it was an action
            self._end(number, 0.0, False, reply.kind, reply.message)
        elif isinstance(reply, Began):
            self._has_begun = True
            running.variation, running.seed = reply.variation, reply.seed
            running.instruction = self._told(running.scene.task, reply.instructions)
            running.observation = reply.observation
        elif isinstance(reply, Stepped):
            running.steps += 1
            success = reply.reward >= self._options.success_threshold
            if reply.terminal or success:
                self._end(number, reply.reward, success, "" if success else UNSOLVED)
            elif running.steps >= self._options.episode_length:
                self._end(number, reply.reward, False, TIMEOUT)
            else:
                running.observation = reply.observation

    def _told(self, task: str, instructions: Sequence[str]) -> str:
        wording = self._options.wording
        if wording >= len(instructions):
            raise EvaluationError(
                f"--wording {wording}: task {task} has the instructions 0 to "
                f"{len(instructions) - 1}; choose one of them"
            )
        return instructions[wording]

    def _act(self) -> None:
        """Choose actions for all episodes that wait for one, in the order of their ids."""
        waiting = [
            (number, Turn(r.env_id, r.observation, r.instruction, r.steps))
            for number, r in self._running.items()
            if r.observation is not None
        ]
        if not waiting:
            return
        waiting.sort(key=lambda item: item[1].env_id)
        started = time.monotonic()
        actions = self._actor.act([turn for _, turn in waiting])
        seconds = time.monotonic() - started  # the actions lie on the CPU: the device has ended
        if self._options.batch_size > 1:
            self._patience = seconds
        control = self._actor.spec.action.mode
        for (number, _), action in zip(waiting, actions, strict=True):
            self._running[number].observation = None
            self._running[number].policy_seconds += seconds / len(waiting)
            if action is None:
                self._end(number, 0.0, False, DEMO_EXHAUSTED)
            else:
                action = np.asarray(action, np.float64)
                self._running[number].actions.append(action)
                self._simulators[number].send(Step(action, control))

    def _end(
        self, number: int, reward: float, success: bool, failure: str, message: str = ""
    ) -> None:
        """Note how an episode ended and let its film be written."""
        running = self._running[number]
        running.observation = None
        running.row = self._row(running, reward, success, failure, message)
        acting = Acting(
            self._actor.forward_passes(running.env_id),
            round(running.policy_seconds, 4),
            round(self._simulators[number].used, 4),
        )
        running.row = dataclasses.replace(running.row, acting=acting)
        video = self._options.folder / running.row.video if running.row.video else None
        self._simulators[number].send(Finish(success, video))

    def _release(self, number: int) -> None:
        self._ids.taken.discard(self._running.pop(number).env_id)

    def _row(
        self, running: _Running, reward: float, success: bool, failure: str, message: str = ""
    ) -> EpisodeRow:
        scene = running.scene
        outcome = "success" if success else "fail"
        video = f"videos/{scene.task}_{outcome}_{scene.episode}{self._options.film_suffix}"
        return EpisodeRow(
            task=scene.task,
            episode=scene.episode,
            variation=running.variation,
            seed=running.seed,
            success=int(success),
            reward=FULL_REWARD * reward,
            steps=running.steps,
            failure=failure,
            message=message,
            seconds=round(time.monotonic() - running.started, 3),
            video=video if scene.film else "",
            instruction=running.instruction,
            targets=self._targets(running),
        )

    def _targets(self, running: _Running) -> Targets | None:
        if self._actor.spec.action.mode != KEYFRAME_POSE.mode:
            return None
        return tuple(tuple(map(float, action)) for action in running.actions)
