"""RLBench: put one, two or three mugs onto the pegs of the cup holder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import (
    Fragment,
    body,
    box,
    capsule,
    cylinder,
    free_body,
    grasp_weld,
)
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, go, gripper_rotation
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

MUGS = tuple(f"mug{number}" for number in range(3))
MUG_COLOR, HOLDER_COLOR, PEG_COLOR = (0.85, 0.30, 0.25), (0.50, 0.34, 0.20), (0.75, 0.75, 0.78)
# All in metres. A mug's origin lies in the middle of the opening of its handle.
_RADIUS, _HEIGHT, _WALL, _SIDES = 0.036, 0.080, 0.002, 12
_HOLE, _HANDLE = (0.020, 0.022), 0.005  # half width and height of the opening; half thickness
_CENTER = -(_RADIUS + _HOLE[0])  # y of the mug's axis in its own frame
_PEG_LENGTH, _PEG_RADIUS, _PEG_PITCH = 0.070, 0.006, 0.140
_SHELF = 0.008  # thickness of what the mugs stand on
_ON_PEG, _BEFORE_PEG = -0.046, -0.130  # x of the handle in the holder's frame
_GRASP_DEPTH = 0.016  # of the fingertips below the rim
# From a mug's origin to the fingertips that hold it by the side of the rim towards -x.
_GRIP = np.array([-_RADIUS, _CENTER, _HEIGHT / 2 - _GRASP_DEPTH])
_HOVER, _LIFT, _DROP = 0.10, 0.13, 0.005
_HOLDER_AREA, _HOLDER_YAW = Area((0.46, 0.03), (0.015, 0.04)), (-np.pi / 18, np.pi / 18)
_MUG_AREA, _MUG_YAW = Area((0.13, 0.02), (0.03, 0.26)), (-np.pi / 6, np.pi / 6)


class PlaceCups(Task):
    """Variation v asks for v + 1 mugs; there are always three."""

    variations = len(MUGS)
    graspable = MUGS
    manipulated = MUGS
    receivers = ("holder",)

    def fragment(self) -> Fragment:
        """Three mugs, and a holder with three pegs that point at the robot."""
        return Fragment("".join(map(_mug, MUGS)) + _holder(), "".join(map(grasp_weld, MUGS)))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The mugs stand before the holder, their handles to the left."""
        self._count = variation + 1
        scene.spawn("holder", _HOLDER_AREA, radius=0.0, yaw=_HOLDER_YAW)
        for mug in MUGS:
            height = TABLE_HEIGHT + _HEIGHT / 2
            scene.spawn(mug, _MUG_AREA, height=height, radius=0.08, yaw=_MUG_YAW)
        cups = "1 cup" if self._count == 1 else f"{self._count} cups"
        return [
            f"place {cups} on the cup holder",
            f"hang {cups} on the holder by the handle",
            f"pick up {cups} and slide each handle over a peg",
            f"fill the cup holder with {cups}",
        ]

    def success(self, scene: Scene) -> bool:
        """As many pegs as asked for have a mug, and the hand is empty."""
        zones = [
            Zone((_ON_PEG, y, _peg_height()), (0.022, *_HOLE), "holder") for y in _peg_places()
        ]
        filled = sum(any(scene.is_inside(mug, zone) for mug in MUGS) for zone in zones)
        return filled >= self._count and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes per mug: over the rim, the rim, up, before the peg, onto it; between
        mugs a sixth, up from the mug."""
        for number, (mug, y) in enumerate(zip(MUGS, _peg_places(), strict=True)):
            if number == self._count:
                return
            rim, turn = _rim(scene, mug)
            on_peg = scene.to_world("holder", (_ON_PEG, y, _peg_height() + _DROP))
            before = scene.to_world("holder", (_BEFORE_PEG, y, _peg_height() + _DROP))
            grip = scene.matrix("holder") @ _GRIP
            put_turn = _turn(scene, "holder")
            yield go(rim + (0, 0, _HOVER), turn, collide=False)
            yield go(rim, turn, grip=True)
            yield go(rim + (0, 0, _LIFT), turn, grip=True)
            yield go(before + grip, put_turn, grip=True, collide=False)
            yield go(on_peg + grip, put_turn)
            if number + 1 < self._count:
                yield go(on_peg + grip + (0, 0, _HOVER), put_turn)


def _rim(scene: Scene, mug: str) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) and quaternion xyzw of the tip that holds a mug."""
    return scene.to_world(mug, _GRIP), _turn(scene, mug)


def _turn(scene: Scene, name: str) -> np.ndarray:
    """Quaternion xyzw of a gripper that points down and closes along the x axis of a body."""
    return gripper_rotation((0, 0, -1), -scene.matrix(name)[:, 0])


def _peg_height() -> float:
    """Of a peg above the table, metres: in the middle of a standing mug's handle."""
    return _SHELF + _HEIGHT / 2


def _peg_places() -> tuple[float, ...]:
    """y of the pegs in the holder's frame, metres."""
    return (_PEG_PITCH, 0.0, -_PEG_PITCH)


def _mug(name: str) -> str:
    """A mug with its handle towards +y."""
    width = (_RADIUS + _WALL) * np.tan(np.pi / _SIDES)
    options = {"density": 400}
    walls = [
        box(
            (_WALL, width, _HEIGHT / 2),
            MUG_COLOR,
            pos=(_RADIUS * np.cos(angle), _CENTER + _RADIUS * np.sin(angle), 0),
            euler=(0, 0, angle),
            **options,
        )
        for angle in 2 * np.pi * np.arange(_SIDES) / _SIDES
    ]
    bottom = cylinder(
        _RADIUS, 0.003, MUG_COLOR, pos=(0, _CENTER, 0.003 - _HEIGHT / 2), density=1500
    )
    width, height = _HOLE
    bars = [
        box((_HANDLE, width, _HANDLE), MUG_COLOR, pos=(0, 0, side * (height + _HANDLE)), **options)
        for side in (-1, 1)
    ]
    grip = box(
        (_HANDLE, _HANDLE, height + 2 * _HANDLE), MUG_COLOR, pos=(0, width + _HANDLE, 0), **options
    )
    return free_body(name, *walls, bottom, *bars, grip, pos=(0.15, 0, TABLE_HEIGHT + _HEIGHT / 2))


def _holder() -> str:
    """A shelf with a low back, from which the pegs stick out towards -x; the origin lies at table
    height in the plane of the back's front."""
    pegs = [
        capsule((0, y, _peg_height()), (-_PEG_LENGTH, y, _peg_height()), _PEG_RADIUS, PEG_COLOR)
        for y in _peg_places()
    ]
    length = 1.5 * _PEG_PITCH
    back = box((0.008, length, 0.036), HOLDER_COLOR, pos=(0.008, _CENTER / 2, 0.036))
    shelf = box((0.055, length, _SHELF / 2), HOLDER_COLOR, pos=(-0.039, _CENTER / 2, _SHELF / 2))
    return body("holder", shelf, back, *pegs, pos=(0.45, 0, TABLE_HEIGHT))
