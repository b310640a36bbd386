"""Dense control modes: one recorded frame per action, without a planner."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sam2act.core.errors import ConfigError
from sam2act.envs.base import EnvConfig, IKError, InvalidActionError
from sam2act.envs.embedded.kit.task import down
from sam2act.envs.embedded.kit.workspace import FRAME_SECONDS
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.sim import EmbeddedEnv

FAR = np.array([0.79, 0.65, 1.74, *down(), 1.0])


def tip(env: EmbeddedEnv) -> np.ndarray:
    return env.low_dimensional().gripper_pose


def test_modes_and_their_rate_are_listed(blocks: EmbeddedEnv) -> None:
    assert list(blocks.controls) == ["keyframe_pose", "ee_pose", "ee_delta"]
    assert blocks.controls["ee_pose"].rate == pytest.approx(1 / FRAME_SECONDS)


def test_pose_is_reached_at_the_end_of_one_frame(blocks: EmbeddedEnv) -> None:
    start, time = tip(blocks), blocks.data.time
    turned = Rotation.from_rotvec([0, 0, 0.02]) * Rotation.from_quat(start[3:])
    wanted = np.array([*(start[:3] + [0.01, -0.01, -0.01]), *turned.as_quat()])
    result = blocks.step(np.array([*wanted, 1.0]), "ee_pose")
    assert blocks.data.time - time == pytest.approx(FRAME_SECONDS)
    assert result.info["frames"] == 1 and result.info["path_kind"] == "frame"
    assert np.abs(tip(blocks)[:3] - wanted[:3]).max() < 0.005  # the servos' lag
    for _ in range(3):
        blocks.step(np.array([*wanted, 1.0]), "ee_pose")
    assert np.abs(tip(blocks)[:3] - wanted[:3]).max() < 0.0005
    assert abs(np.dot(tip(blocks)[3:], wanted[3:])) > 1 - 1e-5


def test_deltas_are_metres_and_radians_of_the_world_and_do_not_drift(blocks: EmbeddedEnv) -> None:
    start = tip(blocks)
    step = np.array([0.002, 0.003, -0.004, 0.0, 0.0, 0.01, 1.0])
    for _ in range(20):
        blocks.step(step, "ee_delta")
    for _ in range(3):
        blocks.step(np.array([0.0] * 6 + [1.0]), "ee_delta")
    assert tip(blocks)[:3] - start[:3] == pytest.approx([0.04, 0.06, -0.08], abs=5e-4)
    turn = Rotation.from_quat(tip(blocks)[3:]) * Rotation.from_quat(start[3:]).inv()
    assert turn.as_rotvec() == pytest.approx([0, 0, 0.2], abs=2e-3)


def test_command_of_the_gripper_takes_its_frames_and_is_recorded_once(
    blocks: EmbeddedEnv,
) -> None:
    recorded: list[float] = []
    blocks.on_frame = lambda: recorded.append(blocks.data.time)
    hold = np.zeros(7)
    closing = blocks.step(hold, "ee_delta")
    assert 4 <= closing.info["frames"] <= 14 and len(recorded) == 1
    assert closing.observation.gripper_open == 0.0
    assert blocks.step(hold, "ee_delta").info["frames"] == 1
    opening = blocks.step(np.array([0.0] * 6 + [1.0]), "ee_delta")
    assert opening.info["frames"] > 6 and opening.observation.gripper_open == 1.0
    assert len(recorded) == 3
    frames = [round((b - a) / FRAME_SECONDS) for a, b in zip(recorded, recorded[1:], strict=False)]
    assert frames == [1, opening.info["frames"]]


def test_targets_outside_the_workspace_are_clipped(blocks: EmbeddedEnv) -> None:
    for _ in range(60):
        blocks.step(np.array([0.3, 0.0, 0.60, *down(), 1.0]), "ee_pose")
    assert tip(blocks)[:3] == pytest.approx([0.3, 0.0, 0.752], abs=0.003)


def test_targets_outside_the_workspace_are_refused_if_that_is_wanted() -> None:
    env = EmbeddedEnv(EnvConfig("put_block_back", cameras=(), options=Options(clip_targets=False)))
    env.reset(0, 0)
    with pytest.raises(InvalidActionError, match="outside the workspace"):
        env.step(np.array([0.9, 0.0, 1.0, *down(), 1.0]), "ee_pose")


def test_unreachable_pose_is_an_ik_error_that_changes_nothing(blocks: EmbeddedEnv) -> None:
    before = blocks.data.qpos.copy(), blocks.robot.target.copy()
    with pytest.raises(IKError, match="no joint solution"):
        blocks.step(FAR, "ee_pose")
    assert np.array_equal(blocks.data.qpos, before[0])
    assert np.array_equal(blocks.robot.target, before[1])
    blocks.step(np.zeros(7), "ee_delta")


def test_far_target_is_approached_no_faster_than_joints_turn(blocks: EmbeddedEnv) -> None:
    start, wanted = tip(blocks), np.array([0.3, 0.3, 0.9, *down(), 1.0])
    before = blocks.robot.target.copy()
    blocks.step(wanted, "ee_pose")
    assert np.abs(blocks.robot.target - before).max() < 2.62 * FRAME_SECONDS
    assert np.linalg.norm(tip(blocks)[:3] - wanted[:3]) > 0.05
    assert np.linalg.norm(tip(blocks)[:3] - start[:3]) > 0.005
    for _ in range(40):
        blocks.step(wanted, "ee_pose")
    assert np.abs(tip(blocks)[:3] - wanted[:3]).max() < 0.002


@pytest.mark.parametrize("control", ["joint", "ee_velocity", ""])
def test_unknown_mode_is_an_error_that_lists_the_known(blocks: EmbeddedEnv, control: str) -> None:
    with pytest.raises(ConfigError, match="keyframe_pose, ee_pose, ee_delta"):
        blocks.step(np.zeros(7), control)


@pytest.mark.parametrize(
    ("action", "control", "message"),
    [
        (np.zeros(8), "ee_delta", r"\(7,\): translation m, rotation_vector rad, gripper"),
        (np.zeros(9), "ee_pose", r"\(8,\): position m, quaternion xyzw, gripper"),
        (np.array([0.3, 0, 1, 0, 0.5, 0, 0, 1]), "ee_pose", "normalise"),
        (np.full(7, np.nan), "ee_delta", "no numbers"),
    ],
)
def test_malformed_action_is_refused(
    blocks: EmbeddedEnv, action: np.ndarray, control: str, message: str
) -> None:
    with pytest.raises(InvalidActionError, match=message):
        blocks.step(action, control)


def test_keyframes_follow_dense_steps(blocks: EmbeddedEnv) -> None:
    for _ in range(5):
        blocks.step(np.array([0.0, 0.01, -0.01, 0.0, 0.0, 0.0, 1.0]), "ee_delta")
    blocks.step(np.array([0.3, 0.1, 1.0, *down(), 1.0, 1.0]))
    assert tip(blocks)[:3] == pytest.approx([0.3, 0.1, 1.0], abs=0.003)
