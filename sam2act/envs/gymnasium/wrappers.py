"""Observations without depth and calibration, for policies that take pictures and state."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from sam2act.core.errors import ConfigError


class RgbAndState(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """`pixels` and `agent_pos` alone.

    `pixels` maps cameras to (H, W, 3) uint8; with `camera` it is the image of that camera itself.
    """

    def __init__(self, env: gymnasium.Env, camera: str | None = None) -> None:
        """Reduce the observations of `env`, a `TaskEnv` or one with the same keys.

        Raises:
            ConfigError: it has no such camera.
        """
        RecordConstructorArgs.__init__(self, camera=camera)
        gymnasium.ObservationWrapper.__init__(self, env)
        whole = env.observation_space
        assert isinstance(whole, spaces.Dict)
        cameras = whole["pixels"]
        assert isinstance(cameras, spaces.Dict)
        if camera is not None and camera not in cameras.spaces:
            raise ConfigError(f"camera: {camera!r} is not one of {', '.join(cameras.spaces)}")
        self._camera = camera
        self.observation_space = spaces.Dict(self.observation(whole.spaces))

    def observation(self, observation: Any) -> dict[str, Any]:
        """What is left of an observation, or of the spaces of one."""
        pixels = observation["pixels"]
        return {
            "pixels": pixels if self._camera is None else pixels[self._camera],
            "agent_pos": observation["agent_pos"],
        }
