"""The built-in environment: what `Env` promises, on top of an `EpisodeRunner`."""

from __future__ import annotations

import time

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.specs import EnvSpec
from sam2act.data.rlbench.types import Demo, RecordedObservation
from sam2act.envs.base import StepResult, check_control
from sam2act.envs.embedded.demo import record_demo
from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.film import Film
from sam2act.envs.embedded.options import CONTROLS
from sam2act.envs.recorded import check_origin, plain_seed, recorded_spec


class EmbeddedEnv(EpisodeRunner):
    """An `Env` that needs no simulator but MuJoCo's physics; it has all abilities."""

    @property
    def spec(self) -> EnvSpec:
        """What it gives and takes."""
        return recorded_spec(self.config, CONTROLS)

    def reset(self, variation: int, seed: int) -> tuple[list[str], RecordedObservation]:
        """Start an episode; for the errors see `begin_episode`."""
        self.begin_episode(variation, seed)
        return list(self.instructions), self.observe()

    def step(self, action: np.ndarray, control: str = "keyframe_pose") -> StepResult:
        """Move, actuate the gripper, look; for the errors see `execute` and `execute_frame`.

        Raises:
            ConfigError: there is no such control mode; `controls` lists them.
        """
        spec = check_control(control, self.controls, self.backend)
        if spec is KEYFRAME_POSE:
            info = self.execute(action, stop_on_success=self.options.stop_on_success)
        else:
            info = self.execute_frame(action, spec)
        started = time.perf_counter()
        observation = self.observe()
        info["render_ms"] = 1e3 * (time.perf_counter() - started)
        success = info["success"]
        return StepResult(observation, float(success), bool(success), info)

    def reset_to_demo(self, demo: Demo) -> tuple[list[str], RecordedObservation]:
        """Start an episode in the scene in which `demo` was recorded.

        Raises:
            ValueError: the demo comes from another simulator, task or set of perturbations.
        """
        check_origin(demo, self.origin())
        return self.reset(demo.variation_number, plain_seed(demo.random_seed))

    def get_demo(self, variation: int, seed: int, images: str = "keyframes") -> Demo:
        """A scripted demonstration with observations at every 0.05 s.

        Raises:
            ScriptError: the script did not succeed with this seed.
        """
        return record_demo(self, variation, seed, images)

    def start_film(self, every: int) -> None:
        """Film the running episode from here on, every `every`-th recorded frame (0.05 s)."""
        self.on_frame = Film(self, every)

    def stop_film(self) -> list[np.ndarray]:
        """The pictures (S, S, 3) uint8 taken since `start_film`; empty if it was not called."""
        film, self.on_frame = self.on_frame, None
        if not isinstance(film, Film):
            return []
        film.take()
        return film.frames

    def close(self) -> None:
        """Nothing to free."""
