"""The tree of a scene: what moves with what, what is inside what, what observations report."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sam2act.envs.embedded.kit.facts import pose_matrix
from tests.envs.embedded.kit.scenes import loaded


def shifted(pose: np.ndarray, *offset: float) -> np.ndarray:
    moved = pose.copy()
    moved[:3, 3] += offset
    return moved


def test_marks_and_free_things_follow_what_they_lie_below() -> None:
    frames, _, _ = loaded("put_item_in_drawer")
    relative = np.linalg.inv(frames.pose("put_item_in_drawer")) @ frames.pose("item")
    base = pose_matrix([0.3, 0.1, 0.752, 0, 0, np.sin(0.1), np.cos(0.1)])
    frames.move("put_item_in_drawer", base)
    assert np.allclose(base @ relative, frames.pose("item"), atol=1e-9)
    mark = frames.pose("waypoint2")
    frames.move("waypoint2", shifted(mark, 0, 0, 0.1))
    assert frames.pose("waypoint2")[2, 3] == pytest.approx(mark[2, 3] + 0.1)


def test_marks_below_a_joint_move_with_it() -> None:
    frames, model, data = loaded("open_drawer")
    mark, handle = frames.pose("waypoint1"), frames.pose("waypoint_anchor_bottom")
    data.joint("drawer_joint_bottom").qpos[0] = 0.2
    mujoco.mj_kinematics(model, data)
    assert np.allclose(frames.pose("waypoint1"), mark)
    moved = frames.pose("waypoint_anchor_bottom")[:3, 3] - handle[:3, 3]
    assert moved == pytest.approx([0, 0.2, 0], abs=1e-3)


def test_a_reset_brings_marks_back() -> None:
    frames, _, _ = loaded("open_drawer")
    mark = frames.pose("waypoint1")
    frames.move("waypoint1", shifted(mark, 0, 0, 0.1))
    frames.reset()
    assert np.allclose(frames.pose("waypoint1"), mark)


def test_the_state_lists_objects_breadth_first_and_positions_after_joints() -> None:
    frames, model, data = loaded("open_drawer")
    data.joint("drawer_joint_middle").qpos[0] = 0.15
    mujoco.mj_kinematics(model, data)
    state, names = frames.state(), frames.facts.by_level()[1:]
    assert len(names) == 14 and state.shape == (7 * 14 + 3,)
    assert names[:2] == ["drawer_frame", "drawer_joint_bottom"]
    first = 0
    for name in names:
        found = pose_matrix(state[first : first + 7].tolist())
        assert np.allclose(found, frames.pose(name), atol=1e-6), name
        first += 7
        if name.startswith("drawer_joint"):
            assert state[first] == pytest.approx(0.15 if name.endswith("middle") else 0.0)
            first += 1
    frames.move("waypoint1", frames.pose("waypoint_anchor_top"))
    third = frames.state()[15:18]
    assert third == pytest.approx(frames.pose("waypoint_anchor_top")[:3, 3])


@pytest.mark.parametrize(("offset", "seen"), [(0.060, True), (0.064, True), (0.068, False)])
def test_a_sensor_sees_any_part_of_a_shape(offset: float, seen: bool) -> None:
    """The sensor of a patch is 7.5 cm wide, the block 5.6 cm: 6.6 cm apart they touch."""
    frames, _, _ = loaded("put_block_back")
    block = frames.pose("block")
    block[:2, 3] = frames.pose("success1")[:2, 3] + [offset, 0]
    frames.move("block", block)
    assert frames.touches("success1", "block") is seen


def test_the_box_of_a_thing_includes_what_is_below_it() -> None:
    frames, _, _ = loaded("put_block_back")
    low, high = frames.box("push_buttons_target1")
    width = high - low
    assert width[:2] == pytest.approx([0.1, 0.1], abs=1e-3)
    assert width[2] > 0.1  # the waypoint above the button
