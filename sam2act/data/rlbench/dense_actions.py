"""The action of every frame of a recorded motion, by control mode."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.core.actions import EE_DELTA, EE_POSE
from sam2act.core.errors import require_choice

DENSE_CONTROLS = (EE_POSE.mode, EE_DELTA.mode)


def require_dense(control: str) -> None:
    """Make sure that actions of mode `control` follow from recorded poses.

    Raises:
        ConfigError: they do not.
    """
    require_choice("control", control, DENSE_CONTROLS)


def pose_actions(poses: np.ndarray, gripper_open: np.ndarray, control: str) -> np.ndarray:
    """The actions that lead from each frame to the next one.

    Args:
        poses: (T, 7) of the gripper: metres and xyzw, world frame.
        gripper_open: (T,) 1 = open, 0 = closed.
        control: `ee_pose` or `ee_delta`.

    Returns:
        (T - 1, 8) float64: pose in the next frame, gripper there; or (T - 1, 7): translation in
        metres and rotation vector in radians from frame to frame, both in the world frame, gripper.
        Deltas add up to the recorded poses.

    Raises:
        ConfigError: another control mode.
    """
    require_dense(control)
    poses = np.asarray(poses, np.float64)
    gripper = np.asarray(gripper_open, np.float64).reshape(-1, 1)[1:]
    if control == EE_POSE.mode:
        return np.concatenate([poses[1:], gripper], axis=1)
    turns = Rotation.from_quat(poses[:, 3:])
    rotations = (turns[1:] * turns[:-1].inv()).as_rotvec()
    return np.concatenate([np.diff(poses[:, :3], axis=0), rotations, gripper], axis=1)
