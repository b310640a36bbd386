"""The arm has the kinematics of the recorded one."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demos import list_episodes, read_episode
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.workspace import model_text
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.robot.kinematics import Arm
from sam2act.envs.embedded.robot.poses import quaternion_xyzw
from tests.golden_files import demos_dir

RECORDED_HOME = ((0.278454, -0.008162, 1.471979), (0, 0.992665, 0, 0.120899))


@pytest.fixture(scope="module")
def arm() -> Arm:
    model = mujoco.MjModel.from_xml_string(model_text(Fragment("")))
    return Arm(model, mujoco.MjData(model))


def test_home_pose_is_the_recorded_one(arm: Arm) -> None:
    tip = arm.tip(panda.HOME)
    position, quaternion = RECORDED_HOME
    turn = Rotation.from_matrix(tip.matrix) * Rotation.from_quat(quaternion).inv()
    assert np.linalg.norm(tip.position - position) < 0.003
    assert np.rad2deg(turn.magnitude()) < 0.3


def test_joint_convention_there_and_back() -> None:
    angles = np.linspace(-1, 1, 7)
    reported = panda.to_rlbench_joints(angles)
    assert np.rad2deg(angles[3] - reported[3]) == pytest.approx(4)
    assert np.allclose(panda.from_rlbench_joints(reported), angles)
    assert angles[3] == pytest.approx(0)  # the argument is left alone


def test_tip_follows_recorded_joint_angles(arm: Arm) -> None:
    root = demos_dir()
    errors, turns = [], []
    for number in list_episodes(root, "train", "open_drawer"):
        episode = read_episode(episodes_folder(root, "train", "open_drawer") / f"episode{number}")
        for observation in list(episode.demo)[::5]:
            tip = arm.tip(panda.from_rlbench_joints(observation.joint_positions))
            pose = observation.gripper_pose
            errors.append(np.linalg.norm(tip.position - pose[:3]))
            turn = Rotation.from_matrix(tip.matrix) * Rotation.from_quat(pose[3:]).inv()
            turns.append(np.rad2deg(turn.magnitude()))
    assert np.mean(errors) < 0.0015 and max(errors) < 0.005
    assert np.mean(turns) < 0.3


def test_quaternions_are_those_of_scipy_with_their_signs() -> None:
    turns = Rotation.random(500, random_state=0).as_matrix()
    right_angles = Rotation.from_euler("xyz", [[90, 0, 0], [180, 0, 0], [0, 0, 0]], degrees=True)
    turns = np.concatenate([turns, right_angles.as_matrix()])

    found = quaternion_xyzw(turns.reshape(1, *turns.shape))

    np.testing.assert_allclose(found[0], Rotation.from_matrix(turns).as_quat(), atol=1e-15)
    np.testing.assert_array_equal(quaternion_xyzw(turns[7]), found[0, 7])
