from __future__ import annotations

from typing import Any

import numpy as np

from rlbench.action_modes.arm_action_modes import EndEffectorPoseViaPlanning
from rlbench.action_modes.gripper_action_modes import Discrete


class MoveArmThenGripper:
    def __init__(self, arm_action_mode: Any, gripper_action_mode: Any) -> None:
        assert isinstance(arm_action_mode, EndEffectorPoseViaPlanning)
        assert isinstance(gripper_action_mode, Discrete)
        self.arm_action_mode, self.gripper_action_mode = arm_action_mode, gripper_action_mode

    def action(self, scene: Any, action: np.ndarray) -> None:
        raise AssertionError("upstream's mode takes 8 numbers and knows no collision flag")

    def action_shape(self, scene: Any) -> int:
        return 8
