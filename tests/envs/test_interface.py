"""What every backend promises; a backend that is not installed is skipped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.envs.base import (
    Env,
    EnvConfig,
    InvalidActionError,
    restorable,
    scripted,
)
from sam2act.envs.registry import MissingSimulatorError, make_env


@pytest.fixture(params=("embedded", "rlbench"))
def env(request: pytest.FixtureRequest) -> Iterator[Env]:
    try:
        env = make_env(EnvConfig("open_drawer", backend=request.param))
    except MissingSimulatorError as error:
        pytest.skip(str(error))
    yield env
    env.close()


def test_reset_gives_instructions_and_images(env: Env) -> None:
    instructions, observation = env.reset(variation=1, seed=0)
    assert instructions[0] == "open the middle drawer"
    frame = observation.frame()
    for camera in env.spec.camera_specs:
        assert frame.rgb[camera.name].shape == (camera.height, camera.width, 3)
        assert frame.depth[camera.name].shape == (camera.height, camera.width)
        assert frame.extrinsics[camera.name].shape == (4, 4)
    assert [camera.name for camera in env.spec.camera_specs] == list(POLICY_CAMERAS)
    for part in env.spec.state:
        assert frame.state[part.name].shape == (part.size,)


def test_keyframes_of_a_demo_solve_the_task_again(env: Env) -> None:
    demo = scripted(env).get_demo(variation=0, seed=3, images="none")
    _, first = restorable(env).reset_to_demo(demo)
    assert np.allclose(first.gripper_pose, demo[0].gripper_pose, atol=1e-6)
    changes = [i for i in range(1, len(demo)) if demo[i].gripper_open != demo[i - 1].gripper_open]
    slow = [i for i in range(5, changes[0]) if np.abs(demo[i].joint_velocities).max() < 0.1]
    for frame in (slow[0], changes[0], len(demo) - 1):
        observation = demo[frame]
        ignore = demo[frame - 1].ignore_collisions
        action = np.array([*observation.gripper_pose, observation.gripper_open, float(ignore)])
        result = env.step(action, "keyframe_pose")
    assert result.terminal and result.reward == env.spec.success_threshold
    assert result.info["success"]


def test_invalid_action_is_refused_by_name(env: Env) -> None:
    env.reset(variation=0, seed=0)
    with pytest.raises(InvalidActionError):
        env.step(np.array([0.2, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0]), "keyframe_pose")


def test_variations_are_counted(env: Env) -> None:
    assert env.variation_count() == 3
