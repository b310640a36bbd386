"""Walls of cups and mugs, made of flat sides."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.facts import Solid


def round_wall(
    frame: np.ndarray, radii: tuple[float, float], height: float, thickness: float, sides: int
) -> tuple[Solid, ...]:
    """A tube, or a tapered one, open at both ends; one side looks along x.

    Args:
        frame: (4, 4) of its lower end in the frame of the shape; the axis is z.
        radii: of the middle of its wall at the lower and at the upper end, metres.
        height: metres.
        thickness: of its wall, metres.
        sides: their number.
    """
    low, high = radii
    slope = np.arctan2(high - low, height)
    width = 2 * (max(radii) + thickness / 2) * np.tan(np.pi / sides)  # closed where it is widest
    size = (thickness, width, height / np.cos(slope))
    walls = []
    for angle in 2 * np.pi * np.arange(sides) / sides:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("ZY", (angle, slope)).as_matrix()
        middle = (low + high) / 2
        pose[:3, 3] = middle * np.cos(angle), middle * np.sin(angle), height / 2
        walls.append(Solid("cuboid", size, frame @ pose))
    return tuple(walls)


def solid_at(
    frame: np.ndarray,
    kind: str,
    size: tuple[float, float, float],
    center: tuple[float, float, float],
) -> Solid:
    """A primitive at `center` (3,) along the axes of `frame` (4, 4), metres."""
    pose = frame.copy()
    pose[:3, 3] += frame[:3, :3] @ np.array(center)
    return Solid(kind, size, pose)
