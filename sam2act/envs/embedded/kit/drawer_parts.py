"""Opening a drawer of `parts.drawer_unit`: what the tasks around the chest of drawers share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.parts import HANDLE_GRASP
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import Waypoint, go, gripper_rotation

# The chest is turned about a point before its fronts, which lies in this area. So fronts that face
# away from the arm come closer to it, and pulled handles stay within reach.
_AREA, _YAW = Area((0.168, 0.055), (0.032, 0.015)), (-np.pi / 8, np.pi / 8)  # metres, radians
_PIVOT = 0.10  # metres before the fronts
_RADIUS = 0.20  # metres
OPEN = 0.15  # metres from which on a drawer counts as open
PULL = 0.20  # metres
APPROACH = 0.10  # metres before a handle where the way to it begins


def spawn_chest(scene: Scene) -> None:
    """Put the chest somewhere to the right of the arm, the drawers opening to the left."""
    scene.spawn("cabinet", _AREA, radius=_RADIUS, yaw=_YAW)
    front = scene.to_world("cabinet", (0, -_PIVOT, 0))
    scene.place("cabinet", front, yaw=scene.yaw("cabinet"))


def handle_rotation(scene: Scene) -> np.ndarray:
    """Quaternion xyzw of a gripper that faces the fronts with one finger above the other.

    Of the two ways round this one keeps joint 7 off its limit when the fronts turn away from the
    arm.
    """
    return gripper_rotation(-scene.matrix("cabinet")[:, 1], (0, 0, -1))


def at_handle(scene: Scene, place: str, distance: float = 0.0) -> np.ndarray:
    """(3,) metres, world frame: the tip around the handle of drawer `place` as it is now, or
    `distance` metres in front of it."""
    return scene.to_world(f"drawer_{place}", (0, HANDLE_GRASP + distance, 0))


def pull_open(scene: Scene, place: str, *, release: bool) -> Iterator[Waypoint]:
    """Three keyframes: before the handle, around it, pulled; `release` opens the fingers then."""
    rotation = handle_rotation(scene)
    yield go(at_handle(scene, place, APPROACH), rotation, collide=False)
    handle = at_handle(scene, place)
    yield go(handle, rotation, grip=True)
    yield go(handle + PULL * scene.matrix("cabinet")[:, 1], rotation, grip=not release)
