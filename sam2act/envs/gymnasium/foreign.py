"""Any environment of gymnasium behind the interface of this project.

Observations are a dictionary with `pixels` (camera -> image, or one image), and perhaps `depth`,
`intrinsics`, `extrinsics` by camera and `agent_pos`; or an image, or a vector. Images are (H, W, 3)
uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import ConfigError
from sam2act.core.frames import Frame
from sam2act.core.specs import CameraSpec, EnvSpec
from sam2act.envs.base import InvalidActionError, StepResult, check_action, check_control

BY_CAMERA = ("depth", "intrinsics", "extrinsics")


class ForeignEnv:
    """An `Env`; optional attributes of the environment say more than its spaces.

    `control_spec` (an `ActionSpec`) and `state_parts` (components of `agent_pos`) name numbers;
    without them an action is `raw` and the state one part, `agent_pos`. `variation_count` says how
    many variations `reset(options={"variation": v})` knows, `task_description` is the instruction.
    """

    def __init__(
        self, env: gymnasium.Env, *, camera: str, rate: float, success_reward: float
    ) -> None:
        """Use `env`; for the others see `backend.Options`.

        Raises:
            ConfigError: its actions are no vector.
        """
        self._env, self._camera = env, camera
        self._inner: Any = env.unwrapped
        self._threshold = success_reward
        self.spec = self._spec(rate)

    def variation_count(self) -> int:
        """Number of variations."""
        return int(getattr(self._inner, "variation_count", 1))

    def reset(self, variation: int, seed: int) -> tuple[list[str], Frame]:
        """Start an episode."""
        if not 0 <= variation < self.variation_count():
            raise ValueError(f"variation: there are {self.variation_count()}, not {variation}")
        varies = hasattr(self._inner, "variation_count")
        options = {"variation": variation} if varies else None
        observation, info = self._env.reset(seed=seed, options=options)
        told = getattr(self._inner, "task_description", info.get("task_description", ""))
        return [str(told)], self._frame(observation)

    def step(self, action: np.ndarray, control: str) -> StepResult:
        """Execute an action.

        Raises:
            ConfigError: there is no such control mode.
            InvalidActionError: it has the wrong form, or `info` tells of an error.
        """
        (known,) = self.spec.actions
        check_control(control, {known.mode: known}, "gymnasium")
        space = self._env.action_space
        values = check_action(action, known).astype(space.dtype)
        observation, reward, terminated, truncated, info = self._env.step(values)
        if info.get("error"):
            raise InvalidActionError(str(info["error"]))
        graded = float(reward)
        success = bool(info.get("is_success", graded >= self._threshold))
        if success:
            graded = max(graded, self._threshold)
        elif graded >= self._threshold:
            graded = 0.0
        told = {"success": success, "error": None, "error_type": None}
        return StepResult(self._frame(observation), graded, bool(terminated or truncated), told)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    # ---------------------------------------------------------------------------- details
    def _spec(self, rate: float) -> EnvSpec:
        pictures = self._part(self._env.observation_space, "pixels")
        depth = self._part(self._env.observation_space, "depth")
        cameras = tuple(
            CameraSpec(name, space.shape[0], space.shape[1], name in depth)
            for name, space in pictures.items()
        )
        state = getattr(self._inner, "state_parts", None)
        vector = _entries(self._env.observation_space).get("agent_pos")
        if state is None:
            size = 0 if vector is None else int(np.prod(vector.shape))
            state = (Component("agent_pos", size, ""),) if size else ()
        of_gym = self._env.spec.max_episode_steps if self._env.spec else None
        return EnvSpec(
            camera_specs=cameras,
            state=tuple(state),
            actions=(self._action_spec(rate),),
            episode_length=of_gym or getattr(self._inner, "episode_length", None),
            success_threshold=self._threshold,
            instructions=hasattr(self._inner, "task_description"),
        )

    def _action_spec(self, rate: float) -> ActionSpec:
        stated = getattr(self._inner, "control_spec", None)
        if stated is not None:
            return stated
        space = self._env.action_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ConfigError(f"action_space: {space} is no vector of numbers")
        return ActionSpec("raw", (Component("action", space.shape[0], ""),), rate=rate)

    def _part(self, whole: Any, kind: str) -> Mapping[str, Any]:
        """What `kind` holds by camera, of an observation or of its space."""
        found = _entries(whole).get(kind, {})
        if isinstance(found, spaces.Dict):
            return found.spaces
        return found if isinstance(found, Mapping) else {self._camera: found}

    def _frame(self, observation: Any) -> Frame:
        vector = _entries(observation).get("agent_pos")
        numbers = np.zeros(0) if vector is None else np.asarray(vector, np.float64).ravel()
        ends = np.cumsum([part.size for part in self.spec.state])
        parts = np.split(numbers, ends[:-1]) if len(ends) else []
        return Frame(
            rgb=dict(self._part(observation, "pixels")),
            state={p.name: v for p, v in zip(self.spec.state, parts, strict=True)},
            **{kind: dict(self._part(observation, kind)) for kind in BY_CAMERA},
        )


def _entries(whole: Any) -> Mapping[str, Any]:
    """The entries of an observation or of its space; a single image or vector gets its key."""
    if isinstance(whole, spaces.Dict):
        return whole.spaces
    if isinstance(whole, Mapping):
        return whole
    return {"pixels" if len(whole.shape) == 3 else "agent_pos": whole}
