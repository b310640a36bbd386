"""A task of this project's simulators as an environment of gymnasium."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import ConfigError
from sam2act.core.frames import HasFrame
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.envs.base import EnvConfig, EnvError, filmable
from sam2act.envs.gymnasium.spaces import action_space, observation_of, observation_space
from sam2act.envs.registry import check_task, get_backend, make_env
from sam2act.envs.seeding import episode_seed, episode_variation

CONTROLS = {"keyframe": "keyframe_pose", "ee_pose": "ee_pose", "ee_delta": "ee_delta"}
EPISODE_LENGTH = {"keyframe": 25, "ee_pose": 400, "ee_delta": 400}  # steps
KEYFRAME_RATE = 2  # keyframes per second of a film
NUMBERS = 2**31  # of episodes from which unseeded resets draw
UNIT = 1e-3  # how far a quaternion's norm may be from 1


class TaskEnv(gymnasium.Env):
    """One task; `gymnasium.make("sam2act/PutBlockBack-v0", ...)` makes it.

    Attributes:
        task: name of the task.
        task_description: instruction of the running episode; empty before the first reset.
        episode_length: steps after which an episode is truncated.
        step_number: steps of the running episode so far.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": KEYFRAME_RATE}

    def __init__(
        self,
        task: str,
        *,
        control: str = "keyframe",
        cameras: tuple[str, ...] = POLICY_CAMERAS,
        image_size: int = 128,
        scene_set: int = 0,
        episode_length: int | None = None,
        render_mode: str | None = None,
        backend: str = "embedded",
        **options: Any,
    ) -> None:
        """Open the simulator.

        Args:
            task: name of the task.
            control: `keyframe` (9 numbers), `ee_pose` (8) or `ee_delta` (7).
            cameras: cameras to observe with.
            image_size: pixels per side.
            scene_set: seeds of `reset` number the episodes of this set of scenes.
            episode_length: steps after which an episode is truncated; by default 25 keyframes, 400
                frames. `max_episode_steps` of `gymnasium.make` can only shorten it.
            render_mode: `rgb_array` or None.
            backend: which simulator.
            options: of the backend, for example `perturbations`.

        Raises:
            ConfigError: an argument is impossible.
            MissingSimulatorError: the simulator is not installed.
            ValueError: there is no such task.
        """
        if control not in CONTROLS:
            raise ConfigError(f"control: {control!r} is not one of {', '.join(CONTROLS)}")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render_mode: {render_mode!r} is not rgb_array or None")
        check_task(backend, task)
        chosen = _options(backend, options)
        self._env = make_env(EnvConfig(task, backend, tuple(cameras), image_size, options=chosen))
        self._spec = self._env.spec
        self._control = next(s for s in self._spec.actions if s.mode == CONTROLS[control])
        self._scene_set = scene_set
        self.episode_length = episode_length or EPISODE_LENGTH[control]
        self.task, self.task_description, self.render_mode = task, "", render_mode
        self.observation_space = observation_space(self._spec)
        self.action_space = action_space(self._control)
        if self._control.rate is not None:
            self.metadata = {**self.metadata, "render_fps": int(self._control.rate)}
        self.step_number = 0
        self._observation: HasFrame | None = None
        self._scene: dict[str, int] = {}

    @property
    def control_spec(self) -> ActionSpec:
        """What an action is: names, sizes, units and frames of its numbers."""
        return self._control

    @property
    def state_parts(self) -> tuple[Component, ...]:
        """The parts of `agent_pos`, in this order."""
        return self._spec.state

    @property
    def variation_count(self) -> int:
        """Number of variations; they are numbered from 0."""
        return self._env.variation_count()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode.

        Without options, `seed` is the number of an episode of the set `scene_set`, the one that
        `sam2act eval --seed <scene_set>` runs under this number. With `options={"variation": v}`
        it is the seed of a scene of variation v, as of `Env.reset(v, seed)`. Where it is None it
        is drawn from `np_random`.

        Raises:
            ConfigError: there is no such option.
            ValueError: there is no such variation or seed.
            BoundaryError, WaypointError: this scene cannot be built.
        """
        super().reset(seed=seed)
        variation, scene_seed = self._chosen_scene(seed, options or {})
        instructions, self._observation = self._env.reset(variation, scene_seed)
        self.step_number = 0
        self._scene = {"variation": variation, "seed": scene_seed}
        self.task_description = instructions[0]
        return self._observed(), self._info(success=False)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Execute an action (A,); see `control_spec`.

        As in evaluations an action that cannot be executed ends the episode without success; `info`
        tells why under `error`.

        Raises:
            RuntimeError: `reset` was not called.
        """
        if self._observation is None:
            raise RuntimeError("step: call reset first")
        self.step_number += 1
        try:
            result = self._env.step(self._unit(np.asarray(action, float)), self._control.mode)
        except EnvError as error:
            info = self._info(success=False, error=f"{type(error).__name__}: {error}")
            return self._observed(), 0.0, True, False, info
        self._observation = result.observation
        success = bool(result.reward >= self._spec.success_threshold)
        terminated = success or bool(result.terminal)
        truncated = not terminated and self.step_number >= self.episode_length
        return (
            self._observed(),
            float(result.reward),
            terminated,
            truncated,
            self._info(success=success),
        )

    def render(self) -> np.ndarray | None:
        """A picture (S, S, 3) uint8 of the scene as it is; None without a `render_mode`."""
        if self.render_mode is None:
            return None
        env = filmable(self._env)
        env.start_film(1)
        return env.stop_film()[-1]

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    # ---------------------------------------------------------------------------- details
    def _chosen_scene(self, seed: int | None, options: Mapping[str, Any]) -> tuple[int, int]:
        """Variation and seed of the scene."""
        unknown = [name for name in options if name != "variation"]
        if unknown:
            raise ConfigError(f"options of reset: {', '.join(unknown)} unknown; there is variation")
        number = int(self.np_random.integers(NUMBERS)) if seed is None else seed
        if "variation" in options:
            return int(options["variation"]), number
        count = self.variation_count
        return (
            episode_variation(self._scene_set, self.task, number, count),
            episode_seed(self._scene_set, self.task, number),
        )

    def _unit(self, action: np.ndarray) -> np.ndarray:
        """The action with a unit quaternion; one that is so already stays to the last bit."""
        if not self._control.has("quaternion") or action.shape != (self._control.size,):
            return action
        place = self._control.slice_of("quaternion")
        norm = float(np.linalg.norm(action[place]))
        if norm > 0 and abs(norm - 1) > UNIT:
            action = action.copy()
            action[place] /= norm
        return action

    def _observed(self) -> dict[str, Any]:
        assert self._observation is not None
        return observation_of(self._observation.frame(), self._spec)

    def _info(self, *, success: bool, error: str = "") -> dict[str, Any]:
        return {
            "is_success": success,
            "task": self.task,
            "task_description": self.task_description,
            "error": error,
            **self._scene,
        }


def _options(backend: str, given: Mapping[str, Any]) -> Any:
    """The options of a backend.

    Raises:
        ConfigError: it has no such option.
    """
    kind = get_backend(backend).Options
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: no option of backend {backend}, which has {', '.join(known)}"
        )
    return kind(**given)
