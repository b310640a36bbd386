"""Demonstrations as one action per frame, and their replay."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sam2act.core.errors import ConfigError
from sam2act.data.rlbench.dense_actions import DENSE_CONTROLS
from sam2act.data.rlbench.types import Demo, DemoError, RecordedObservation
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.recording.dense_demos import dense_actions, replay


def frame(position: list[float], turn: list[float], is_open: float) -> RecordedObservation:
    quaternion = Rotation.from_rotvec(turn).as_quat()
    return RecordedObservation(
        gripper_pose=np.array([*position, *quaternion]), gripper_open=is_open
    )


DEMO = Demo(
    [
        frame([0.1, 0.0, 1.0], [0, 0, 0], 1.0),
        frame([0.1, 0.02, 1.0], [0, 0, 0.1], 1.0),
        frame([0.1, 0.02, 0.99], [0, 0, 0.1], 0.0),
    ]
)


def test_poses_are_those_of_the_next_frame() -> None:
    actions = dense_actions(DEMO, "ee_pose")
    assert actions.shape == (2, 8)
    assert actions[0, :7] == pytest.approx(DEMO[1].gripper_pose)
    assert actions[:, 7].tolist() == [1.0, 0.0]


def test_deltas_are_metres_and_rotation_vectors_of_the_world() -> None:
    actions = dense_actions(DEMO, "ee_delta")
    assert actions[0] == pytest.approx([0, 0.02, 0, 0, 0, 0.1, 1])
    assert actions[1] == pytest.approx([0, 0, -0.01, 0, 0, 0, 0])


def test_delta_of_a_tilted_hand_turns_about_axes_of_the_world() -> None:
    tilted = Rotation.from_rotvec([1.0, 0, 0])
    turned = Rotation.from_rotvec([0, 0, 0.1]) * tilted
    demo = Demo([frame([0, 0, 1], r.as_rotvec().tolist(), 1.0) for r in (tilted, turned)])
    assert dense_actions(demo, "ee_delta")[0, 3:6] == pytest.approx([0, 0, 0.1])


def test_what_is_no_dense_demonstration_is_refused() -> None:
    with pytest.raises(ConfigError, match="control: 'keyframe_pose' is not one of"):
        dense_actions(DEMO, "keyframe_pose")
    with pytest.raises(DemoError, match="1 frames"):
        dense_actions(Demo([DEMO[0]]), "ee_pose")


@pytest.mark.parametrize("task", ["open_drawer", "put_block_back"])
def test_demonstrations_replay_in_closed_loop(task: str) -> None:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    for seed in (11, 12):
        demo = env.get_demo(seed % env.variation_count(), seed, images="none")
        for control in DENSE_CONTROLS:
            result = replay(env, demo, control)
            assert result.success, (seed, control, result)
            assert len(demo) - 20 <= result.steps <= len(demo) + 9  # ends where it is solved


def test_replay_without_the_gripper_solves_nothing() -> None:
    env = EmbeddedEnv(EnvConfig("put_block_back", cameras=()))
    demo = env.get_demo(1, 3, images="none")
    for observation in demo:
        observation.gripper_open = 1.0
    result = replay(env, demo, "ee_pose")
    assert not result.success and result.steps == len(demo) - 1 + 10


def test_unreachable_target_ends_a_replay_with_its_reason() -> None:
    env = EmbeddedEnv(EnvConfig("open_drawer", cameras=()))
    demo = env.get_demo(0, 3, images="none")
    demo[4].gripper_pose[:3] = [0.79, 0.65, 1.74]
    result = replay(env, demo, "ee_pose")
    assert not result.success and result.steps == 4 and result.error.startswith("IKError")
