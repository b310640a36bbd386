"""Following targets of the tip frame by frame, without a planner."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.core.actions import ActionSpec
from sam2act.envs.base import IKError
from sam2act.envs.embedded.kit.workspace import FRAME_SECONDS
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.robot.kinematics import Arm, Pose

_EXACT_AFTER = 4  # iterations; Newton steps of a frame's length have converged by then
_POSTURE_DRIFT = 0.02  # radians per frame that the elbow is drawn towards the rest posture
# A real Panda's joint speed limits in rad/s; demonstrations need less than half of them.
_SPEED_LIMITS = np.array([2.175] * 4 + [2.61] * 3)


def target_of(action: np.ndarray, spec: ActionSpec, held: Pose) -> Pose:
    """Where `action` wants the tip to be at the end of the frame.

    Args:
        action: checked values of `spec`, a pose or a delta, in the world frame.
        spec: what `action` is.
        held: the pose that deltas are added to.
    """
    if spec.has("position"):
        parts = [action[spec.slice_of(name)] for name in ("position", "quaternion")]
        return Pose.from_array(np.concatenate(parts))
    turn = Rotation.from_rotvec(action[spec.slice_of("rotation_vector")]).as_matrix()
    return Pose(held.position + action[spec.slice_of("translation")], turn @ held.matrix)


def next_joints(arm: Arm, held: np.ndarray, goal: Pose) -> np.ndarray:
    """Joint targets (7,) radians for the end of a frame that began with targets `held` (7,).

    Where `goal` is farther than the joints can turn in a frame, they go a part of the way.

    Raises:
        IKError: the search from `held` finds no solution.
    """
    rest = np.clip(panda.REST - held, -_POSTURE_DRIFT, _POSTURE_DRIFT)
    joints = arm.solve(goal, held, posture=held + rest, least=_EXACT_AFTER)
    if joints is None:
        raise IKError(
            f"no joint solution near the present posture for position {np.round(goal.position, 3)}"
        )
    share = np.abs(joints - held) / (_SPEED_LIMITS * FRAME_SECONDS)
    return held + (joints - held) / max(1.0, float(share.max()))
