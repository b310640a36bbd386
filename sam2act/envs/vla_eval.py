"""Tasks of this project's simulators as a benchmark of vla-eval, named in its yaml files:

    benchmarks:
      - benchmark: "sam2act.envs.vla_eval:Sam2actBenchmark"
        episodes_per_task: 25
        params: {tasks: [open_drawer], seed: 7000}

Episode i of a task is the scene that `sam2act eval --seed <seed>` runs under this number. This
module needs the package vla-eval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import DimSpec

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import ConfigError
from sam2act.core.frames import HasFrame
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.core.vla_eval_names import vla_eval_names
from sam2act.envs.base import Env, EnvConfig, EnvError
from sam2act.envs.registry import choose_tasks, env_spec, make_env
from sam2act.envs.seeding import episode_seed, episode_variation

CONTROLS = {"keyframe": "keyframe_pose", "ee_pose": "ee_pose", "ee_delta": "ee_delta"}
MOST_STEPS = {"keyframe": 25, "ee_pose": 400, "ee_delta": 400}


class Sam2actBenchmark(StepBenchmark):  # type: ignore[misc]  # vla-eval has no types
    """Observations with depth and calibration in, keyframes (or actions at frame rate) out."""

    render_backends = frozenset({"gpu", "cpu"})  # rays are cast on the CPU

    @classmethod
    def configure_render(cls, mode: str) -> dict[str, str]:
        """Nothing has to be set."""
        return {}

    def __init__(
        self,
        tasks: Sequence[str] = ("all",),
        seed: int = 0,
        *,
        control: str = "keyframe",
        cameras: Sequence[str] = POLICY_CAMERAS,
        image_size: int = 128,
        backend: str = "embedded",
        max_steps: int | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            tasks: names of tasks or of sets of them.
            seed: of the set of scenes.
            control: `keyframe` (9 numbers), `ee_pose` (8) or `ee_delta` (7).
            cameras: cameras to observe with.
            image_size: pixels per side.
            backend: which simulator.
            max_steps: of an episode; None = 25 keyframes or 400 frames.

        Raises:
            ConfigError: an argument is impossible.
        """
        super().__init__()
        if control not in CONTROLS:
            raise ConfigError(f"control: {control!r} is not one of {', '.join(CONTROLS)}")
        self._tasks, self._seed = choose_tasks(list(tasks), backend), seed
        self._mode, self._max_steps = CONTROLS[control], max_steps or MOST_STEPS[control]
        self._config = EnvConfig(self._tasks[0], backend, tuple(cameras), image_size)
        self._spec = env_spec(self._config)
        self._action = self._action_spec()
        self._env: Env | None = None
        self._opened = ""
        self._instruction = ""

    def _action_spec(self) -> ActionSpec:
        found = [spec for spec in self._spec.actions if spec.mode == self._mode]
        if not found:
            raise ConfigError(f"control: backend {self._config.backend} takes no {self._mode}")
        return found[0]

    def get_tasks(self) -> list[dict[str, Any]]:
        """One entry per task."""
        return [{"name": name, "suite": self._config.backend} for name in self._tasks]

    def reset(self, task: dict[str, Any]) -> HasFrame:
        """Begin the episode that the task names."""
        env, name, number = self._environment(task["name"]), task["name"], task["episode_idx"]
        variation = episode_variation(self._seed, name, number, env.variation_count())
        instructions, observation = env.reset(variation, episode_seed(self._seed, name, number))
        self._instruction = instructions[0]
        first: HasFrame = observation
        return first

    def _environment(self, task: str) -> Env:
        if self._env is None or self._opened != task:
            self.cleanup()
            config = self._config
            self._env = make_env(EnvConfig(task, config.backend, config.cameras, config.image_size))
            self._opened = task
        return self._env

    def step(self, action: dict[str, Any]) -> StepResult:
        """Execute an action; one that cannot be executed ends the episode without success."""
        assert self._env is not None, "reset comes first"
        numbers = np.asarray(action["actions"], np.float64)
        try:
            result = self._env.step(numbers, self._mode)
        except EnvError as error:
            told = {"success": False, "error": f"{type(error).__name__}: {error}"}
            return StepResult(None, 0.0, True, told)
        success = result.reward >= self._spec.success_threshold
        done = bool(result.terminal or success)
        return StepResult(result.observation, float(result.reward), done, {"success": success})

    def make_obs(self, raw_obs: HasFrame, task: dict[str, Any]) -> dict[str, Any]:
        """Images, depth in metres, camera matrices, the robot's state and the instruction."""
        frame = raw_obs.frame()
        return {
            "images": dict(frame.rgb),
            "depth": {name: np.asarray(depth, np.float32) for name, depth in frame.depth.items()},
            "intrinsics": dict(frame.intrinsics),
            "extrinsics": dict(frame.extrinsics),
            "state": {name: np.atleast_1d(values) for name, values in frame.state.items()},
            "task_description": self._instruction,
        }

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Success, and why the episode ended if an action could not be executed."""
        told = step_result.info
        return {"success": bool(told.get("success", False)), "error": told.get("error", "")}

    def get_metadata(self) -> dict[str, Any]:
        """The most steps of an episode."""
        return {"max_steps": self._max_steps}

    def get_action_spec(self) -> dict[str, DimSpec]:
        """What an action is."""
        return dict(_dimension(part) for part in self._action.components)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """Images and the instruction; the rest has no name in vla-eval."""
        images = {name: DimSpec("image", 0, "rgb_hwc_uint8") for name in self._spec.cameras}
        return {**images, "language": DimSpec("language", 0, "language")}

    def cleanup(self) -> None:
        """Close the simulator."""
        if self._env is not None:
            self._env.close()
            self._env = None


def _dimension(part: Component) -> tuple[str, DimSpec]:
    name, form = vla_eval_names(part)
    return name, DimSpec(name, part.size, form)
