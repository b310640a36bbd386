"""Environments of gymnasium behind our interface."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec, require_match, square_cameras
from sam2act.envs.base import EnvConfig, InvalidActionError
from sam2act.envs.gymnasium.backend import Options
from sam2act.envs.gymnasium.registration import gym_id
from sam2act.envs.registry import env_spec, make_env
from tests.envs.gymnasium.conftest import SMALL, scripted_actions

OURS = f"sam2act.envs.gymnasium:{gym_id('turn_on_lamp')}"
PICTURE_ID = "Picture-v0"


class Picture(gymnasium.Env):
    """An image is all there is to see; the reward is the first number of the action."""

    observation_space = spaces.Box(0, 255, (8, 12, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        return self.np_random.integers(0, 255, (8, 12, 3), np.uint8), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Any]:
        return np.zeros((8, 12, 3), np.uint8), float(action[0]), False, False, {}


@pytest.fixture(autouse=True)
def picture() -> None:
    if PICTURE_ID not in gymnasium.registry:
        gymnasium.register(PICTURE_ID, Picture, max_episode_steps=7)


def test_our_own_task_is_the_same_there_and_back() -> None:
    direct = make_env(EnvConfig("turn_on_lamp", **SMALL))
    config = EnvConfig(OURS, backend="gymnasium", **SMALL)
    env = make_env(config)
    assert env.spec == env_spec(config)
    assert env.spec.camera_specs == direct.spec.camera_specs
    assert env.spec.state == direct.spec.state and env.spec.episode_length == 25
    assert env.variation_count() == direct.variation_count()
    (told, first), (expected, seen) = env.reset(0, 3), direct.reset(0, 3)
    assert told[0] == expected[0]
    script = scripted_actions("turn_on_lamp", "keyframe", 0, 3).astype(np.float32)
    for action in [None, *script]:
        if action is not None:
            result, other = env.step(action, "keyframe_pose"), direct.step(action, "keyframe_pose")
            assert (result.reward, result.terminal) == (other.reward, other.terminal)
            first, seen = result.observation, other.observation
        frame = seen.frame()
        assert np.array_equal(first.rgb["front"], frame.rgb["front"])
        assert np.array_equal(first.depth["front"], frame.depth["front"])
        assert np.array_equal(first.extrinsics["front"], frame.extrinsics["front"])
        assert np.allclose(first.state["gripper_pose"], frame.state["gripper_pose"], atol=1e-6)
    assert result.terminal and result.reward == 1.0 and result.info["success"]
    with pytest.raises(InvalidActionError, match="IKError"):
        env.step(np.array([9.0, 9, 9, 0, 1, 0, 0, 1, 0]), "keyframe_pose")


def test_environment_that_says_nothing_of_itself() -> None:
    options = Options(camera="top", rate=5.0, success_reward=0.5)
    env = make_env(EnvConfig(PICTURE_ID, backend="gymnasium", options=options))
    (camera,), (action,) = env.spec.camera_specs, env.spec.actions
    assert (camera.name, camera.height, camera.width, camera.depth) == ("top", 8, 12, False)
    assert (action.mode, action.size, action.rate) == ("raw", 2, 5.0)
    assert env.spec.episode_length == 7 and not env.spec.instructions
    _, frame = env.reset(0, 4)
    assert frame.rgb["top"].shape == (8, 12, 3) and frame.state == {}
    assert np.array_equal(frame.rgb["top"], env.reset(0, 4)[1].rgb["top"])
    assert not env.step(np.array([0.25, 0.0]), "raw").info["success"]
    result = env.step(np.array([0.75, 0.0]), "raw")
    assert result.info["success"] and result.reward >= env.spec.success_threshold


def test_misfits_are_told_before_an_episode() -> None:
    config = EnvConfig(PICTURE_ID, backend="gymnasium")
    policy = PolicySpec(square_cameras(["front"], 16, depth=True), language=None, state=())
    with pytest.raises(ValueError, match="policy wants depth of front, environment gives rgb"):
        require_match(policy, env_spec(config))


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("NoSuchThing-v0", "{}", "'NoSuchThing-v0' is no id of gymnasium"),
        ("no_such_module:Thing-v0", "{}", "no_such_module"),
        (PICTURE_ID, "{", "arguments: '{' is no JSON"),
    ],
)
def test_impossible_requests(task: str, arguments: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(EnvConfig(task, backend="gymnasium", options=Options(arguments=arguments)))
