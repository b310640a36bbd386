"""Poses in the simulation as (4, 4) matrices, world frame, metres."""

from __future__ import annotations

import mujoco
import numpy as np


def site_matrix(data: mujoco.MjData, site: int) -> np.ndarray:
    """Pose of a site by its number; `data` needs up-to-date kinematics."""
    return _matrix(data.site_xpos[site], data.site_xmat[site])


def body_matrix(data: mujoco.MjData, body: int) -> np.ndarray:
    """Pose of a body by its number; `data` needs up-to-date kinematics."""
    return _matrix(data.xpos[body], data.xmat[body])


def _matrix(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.reshape(3, 3)
    matrix[:3, 3] = position
    return matrix
