"""Actions of every frame from recorded poses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sam2act.core.errors import ConfigError
from sam2act.data.rlbench.dense_actions import pose_actions


def _motion() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    turns = Rotation.from_rotvec(random.uniform(-0.3, 0.3, (6, 3)))
    poses = np.concatenate([random.uniform(-1, 1, (6, 3)), turns.as_quat()], axis=1)
    return poses, np.array([1.0, 1, 1, 0, 0, 1])


def test_poses_are_those_of_the_next_frame() -> None:
    poses, gripper = _motion()
    actions = pose_actions(poses, gripper, "ee_pose")
    np.testing.assert_array_equal(actions, np.column_stack([poses[1:], gripper[1:]]))


def test_deltas_add_up_to_the_poses() -> None:
    poses, gripper = _motion()
    actions = pose_actions(poses, gripper[:, None], "ee_delta")
    assert actions.shape == (5, 7)
    np.testing.assert_allclose(poses[0, :3] + actions[:, :3].sum(axis=0), poses[-1, :3])
    turn = Rotation.from_quat(poses[0, 3:])
    for action in actions:
        turn = Rotation.from_rotvec(action[3:6]) * turn
    assert (turn * Rotation.from_quat(poses[-1, 3:]).inv()).magnitude() < 1e-9
    np.testing.assert_array_equal(actions[:, 6], gripper[1:])


def test_other_modes_are_refused() -> None:
    with pytest.raises(ConfigError, match="control: 'joint' is not one of ee_pose, ee_delta|joint"):
        pose_actions(*_motion(), "joint")
