"""Pictures and state without depth and calibration."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from sam2act.core.errors import ConfigError
from sam2act.envs.gymnasium.registration import gym_id
from sam2act.envs.gymnasium.wrappers import RgbAndState


def make(camera: str | None = None) -> RgbAndState:
    env = gymnasium.make(gym_id("push_buttons"), image_size=16, cameras=("front", "wrist"))
    return RgbAndState(env, camera)


def test_pictures_and_state_remain() -> None:
    env = make()
    observation, _ = env.reset(seed=0)
    whole, _ = env.unwrapped.reset(seed=0)
    assert env.observation_space.contains(observation) and list(observation) == [
        "pixels",
        "agent_pos",
    ]
    assert np.array_equal(observation["pixels"]["wrist"], whole["pixels"]["wrist"])
    assert np.array_equal(observation["agent_pos"], whole["agent_pos"])


def test_one_camera_is_an_image() -> None:
    env = make("wrist")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation["pixels"].shape == (16, 16, 3)
    again = env.spec.make() if env.spec else None
    assert isinstance(again, RgbAndState) and again.observation_space == env.observation_space


def test_unknown_camera_is_refused() -> None:
    with pytest.raises(ConfigError, match="camera: 'top' is not one of front, wrist"):
        make("top")
