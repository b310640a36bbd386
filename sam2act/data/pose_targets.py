"""Poses of the gripper as rows of ten numbers: position, 6-D rotation, gripper.

A 6-D rotation is the first two rows of its matrix (Zhou et al. 2019), a rotation vector its axis
times its angle in radians. Legend: T steps of an episode.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

FAR = 0.25  # metres between targets and where the gripper is, above which they are no targets


def rotation_6d(vectors: np.ndarray) -> np.ndarray:
    """(T, 6) of rotation vectors (T, 3)."""
    return Rotation.from_rotvec(vectors).as_matrix()[:, :2].reshape(-1, 6)


def pose_targets(commands: np.ndarray) -> np.ndarray:
    """(T, 10) of commands (T, 7): position, rotation vector, gripper."""
    commands = np.asarray(commands, np.float64)
    parts = (commands[:, :3], rotation_6d(commands[:, 3:6]), commands[:, 6:])
    return np.concatenate(parts, axis=1)


def are_targets(commands: np.ndarray, positions: np.ndarray) -> bool:
    """Whether commands (T, 7) are absolute: they then lie near the gripper's `positions` (T, 3)."""
    away = np.linalg.norm(commands[:, :3] - positions, axis=1)
    return bool(np.median(away) < FAR)


def targets_of_motions(motions: np.ndarray, poses: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Absolute commands (T, 7) that relative ones lead to.

    Args:
        motions: (T, 7) translation and rotation vector in the world frame, as shares of `reach`,
            and the gripper.
        poses: (T, 6) position and rotation vector of the gripper from which each motion starts.
        reach: (6,) metres and radians that a motion of 1 stands for.
    """
    steps = np.asarray(motions[:, :6], np.float64) * reach
    turned = Rotation.from_rotvec(steps[:, 3:]) * Rotation.from_rotvec(poses[:, 3:])
    parts = (poses[:, :3] + steps[:, :3], turned.as_rotvec(), motions[:, 6:])
    return np.concatenate(parts, axis=1)
