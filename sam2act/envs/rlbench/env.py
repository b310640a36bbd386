"""RLBench in CoppeliaSim behind the interface `Env`, as the published evaluation runs it.

PyRep and RLBench are imported when an environment is made, never before. CoppeliaSim holds one
scene per process: close an environment before the next one is made.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE, Controls
from sam2act.core.errors import MissingSimulatorError
from sam2act.core.specs import EnvSpec
from sam2act.data.rlbench.keyframes import frames_with_images
from sam2act.data.rlbench.types import Demo, RecordedObservation
from sam2act.envs.base import (
    CAMERAS,
    IMAGE_POLICIES,
    EnvConfig,
    EnvError,
    StepResult,
    check_action,
    check_control,
    options_of,
    require_cameras,
)
from sam2act.envs.recorded import check_origin, recorded_spec, restore_random_state
from sam2act.envs.rlbench import headless
from sam2act.envs.rlbench.action_mode import KeyframeMotion, build_action_mode
from sam2act.envs.rlbench.cinematic import CinematicCamera, Film
from sam2act.envs.rlbench.config import (
    PURPOSE,
    as_observation,
    check_task_name,
    observation_config,
    task_class,
)
from sam2act.envs.rlbench.errors import translated
from sam2act.envs.rlbench.options import Options
from sam2act.envs.rlbench.versions import INSTALL_RLBENCH

_IMAGE_KINDS = ("rgb", "depth", "mask", "point_cloud")


class RLBenchEnv:
    """An `Env` on RLBench; the scene is opened once.

    Attributes:
        controls: the control modes; planned keyframes only.
        config: what was asked for.
        task_name: name of the task.
        instructions: of the running episode, as the last reset gave them.
    """

    backend = "rlbench"
    controls: Controls = {KEYFRAME_POSE.mode: KEYFRAME_POSE}

    def __init__(self, config: EnvConfig) -> None:
        """Start CoppeliaSim and load the task.

        Raises:
            MissingSimulatorError: something of the installation is missing, or wrong.
            ValueError: RLBench has no such task or option.
        """
        options = options_of(config, Options)
        require_cameras(config, CAMERAS)
        check_task_name(config.task)
        prepare_process(headless_mode=options.headless)
        self.config = config
        self.task_name = config.task
        self.instructions: list[str] = []
        self._motion = KeyframeMotion(
            clip_targets=options.clip_targets,
            retry_without_collision=options.retry_without_collision,
            stop_on_success=options.stop_on_success,
        )
        self._camera: CinematicCamera | None = None
        self._film: Film | None = None
        self._environment = _launch(config, self._motion, headless_mode=options.headless)
        with self._guarded():
            self._task = self._environment.get_task(task_class(config.task))

    @property
    def spec(self) -> EnvSpec:
        """What it gives and takes."""
        return recorded_spec(self.config, tuple(self.controls.values()))

    # -------------------------------------------------------------------------- episodes
    def variation_count(self) -> int:
        """Number of variations; they are numbered from 0."""
        return int(self._task.variation_count())

    def reset(self, variation: int, seed: int) -> tuple[list[str], RecordedObservation]:
        """Start an episode after seeding numpy's global generator, from which RLBench draws.

        Raises:
            ValueError: there is no such variation or seed.
            BoundaryError, WaypointError: no usable scene was found.
        """
        _check_seed(seed)
        return self._begin(variation, seed)

    def reset_to_demo(self, demo: Demo) -> tuple[list[str], RecordedObservation]:
        """Start an episode in the scene in which `demo` was recorded.

        Only `demo.random_seed`, a state of numpy's Mersenne Twister or an integer, and
        `demo.variation_number` are read. Recorded RLBench pickles hold 0 as the latter: set it to
        what `variation_number.pkl` says.

        Raises:
            ValueError: the demo holds no such state, or comes from another simulator.
        """
        check_origin(demo, {"backend": self.backend})
        return self._begin(demo.variation_number, demo.random_seed)

    def _begin(
        self, variation: int, random_state: tuple[Any, ...] | int | None
    ) -> tuple[list[str], RecordedObservation]:
        """The only place that resets: each reset initialises the task exactly once."""
        self._choose_variation(variation)
        # Nothing may draw from the global generator between these two lines.
        restore_random_state(random_state)
        with self._guarded():
            descriptions, observation = self._task.reset()
        self.instructions = list(descriptions)
        return list(self.instructions), as_observation(observation)

    def _choose_variation(self, variation: int) -> None:
        self._check_open()
        if not 0 <= variation < self.variation_count():
            raise ValueError(
                f"variation: {self.task_name} has 0 to {self.variation_count() - 1}, "
                f"not {variation}"
            )
        self._task.set_variation(variation)

    # --------------------------------------------------------------------------- actions
    def step(self, action: np.ndarray, control: str = "keyframe_pose") -> StepResult:
        """Move, then actuate the gripper; `clip_targets` says what becomes of positions outside.

        Raises:
            ConfigError: `control` is another mode than `keyframe_pose`.
            InvalidActionError: the action has the wrong form, or no path leads to the pose.
        """
        self._check_open()
        if not self.instructions:
            raise RuntimeError("step: no episode is running; call reset first")
        action = check_action(action, check_control(control, self.controls, self.backend))
        started = time.perf_counter()
        with self._guarded():
            observation, reward, terminal = self._task.step(action)
        success = float(reward) >= 1.0
        info = {"success": success, "error": None, "error_type": None, **self._motion.info}
        seconds = time.perf_counter() - started
        info["render_ms"] = max(1e3 * seconds - info["plan_ms"] - info["exec_ms"], 0.0)
        return StepResult(as_observation(observation), float(success), bool(terminal), info)

    # ----------------------------------------------------------------------------- demos
    def get_demo(self, variation: int, seed: int, images: str = "keyframes") -> Demo:
        """A scripted demonstration; all images are rendered, those not asked for are dropped.

        Raises:
            ScriptError: the script did not succeed with this seed.
        """
        if images not in IMAGE_POLICIES:
            raise ValueError(f"images: {images!r} is none of {', '.join(IMAGE_POLICIES)}")
        _check_seed(seed)
        self._choose_variation(variation)
        restore_random_state(seed)
        with self._guarded():
            (demo,) = self._task.get_demos(1, live_demos=True, max_attempts=1)
        observations = [as_observation(observation) for observation in demo]
        _drop_images(observations, images)
        return Demo(observations, demo.random_seed, variation)

    # ----------------------------------------------------------------------------- films
    def start_film(self, every: int) -> None:
        """Film from the side, a frame every `every` simulation steps (0.05 s) of the motions.

        Raises:
            ValueError: `every` is no positive number.
        """
        self._check_open()
        if every < 1:
            raise ValueError(f"every: {every} simulation steps; a film needs at least 1")
        self._camera = self._camera or CinematicCamera()
        self._film = Film(self._camera, every)
        self._motion.on_step = self._film.step

    def stop_film(self) -> list[np.ndarray]:
        """The frames (180, 320, 3) uint8 since `start_film`, and one of the present moment."""
        if self._film is None:
            raise RuntimeError("stop_film: no film is running; call start_film first")
        film, self._film, self._motion.on_step = self._film, None, None
        return film.finish()

    # --------------------------------------------------------------------------- closing
    def close(self) -> None:
        """Shut CoppeliaSim down; the environment is unusable afterwards."""
        environment, self._environment = self._environment, None
        self._film, self._camera, self._motion.on_step = None, None, None
        if environment is not None:
            environment.shutdown()

    def _check_open(self) -> None:
        if self._environment is None:
            raise RuntimeError("the environment is closed; make another one")

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Errors that end an episode appear as `EnvError`s; others end the simulator too."""
        try:
            with translated():
                yield
        except EnvError:
            raise
        except Exception:
            self.close()
            raise


def prepare_process(*, headless_mode: bool) -> None:
    """Make sure that CoppeliaSim can start in this process.

    Raises:
        MissingSimulatorError: its folder, its library or a display is missing.
    """
    problem = headless.folder_problem(os.environ) or headless.display_problem(
        os.environ, headless=headless_mode
    )
    if problem:
        raise MissingSimulatorError(f"{PURPOSE}: {problem}. Installation: {INSTALL_RLBENCH}")
    # Without it Qt ends the process; CoppeliaSim brings its own plugin.
    os.environ.setdefault(headless.PLUGIN_VARIABLE, os.environ["COPPELIASIM_ROOT"])
    try:
        importlib.import_module("pyrep")
    except ImportError as error:
        remedy = headless.loader_problem(os.environ) or headless.START_HELP
        raise MissingSimulatorError(
            f"{PURPOSE}: PyRep cannot be imported ({error}); {remedy}. "
            f"Installation: {INSTALL_RLBENCH}"
        ) from error


def _launch(config: EnvConfig, motion: KeyframeMotion, *, headless_mode: bool) -> Any:
    """RLBench's running environment."""
    from pyrep.errors import PyRepError
    from rlbench.environment import Environment

    environment = Environment(
        action_mode=build_action_mode(motion),
        obs_config=observation_config(config),
        headless=headless_mode,
    )
    try:
        environment.launch()
    except (PyRepError, RuntimeError, OSError) as error:
        raise MissingSimulatorError(
            f"{PURPOSE}: CoppeliaSim could not be started ({error}); {headless.START_HELP}"
        ) from error
    return environment


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: {seed} is not in 0 to 2**32 - 1, as numpy's generator needs")


def _drop_images(observations: list[RecordedObservation], images: str) -> None:
    """Set images to None where the policy `images` does not want them."""
    dropped = set(range(len(observations))) - set(frames_with_images(observations, images))
    for frame in dropped:
        for name in vars(observations[frame]):
            if name.endswith(tuple(f"_{kind}" for kind in _IMAGE_KINDS)):
                setattr(observations[frame], name, None)
