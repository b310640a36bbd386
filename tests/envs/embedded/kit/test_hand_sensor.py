"""The gripper attaches what the sensor between its fingers sees, before they close."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.envs.embedded.sim import EmbeddedEnv


@pytest.mark.parametrize(("offset", "held"), [(0.0, True), (0.030, True), (0.045, False)])
def test_any_part_between_the_fingers_is_attached(
    blocks: EmbeddedEnv, offset: float, held: bool
) -> None:
    """The block is 5.6 cm wide and the sensor 1.9 cm along the hand's x axis."""
    tip = blocks.robot.tip_matrix()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = tip[:3, :3], tip[:3, 3] + offset * tip[:3, 0]
    blocks.scene.frames.move("block", pose)
    blocks.robot.grasp(blocks.task.graspable)
    assert ("block" in blocks.robot.grasps) is held
    assert blocks.scene.holds_nothing is not held


def test_what_nobody_may_hold_is_left_alone(blocks: EmbeddedEnv) -> None:
    blocks.scene.frames.move("block", blocks.robot.tip_matrix())
    blocks.robot.grasp(())
    assert blocks.scene.holds_nothing
