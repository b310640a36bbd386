"""RLBench: put a bundle of money onto a shelf of the open safe."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, body, box, cylinder, free_body, grasp_weld
from sam2act.envs.embedded.kit.parts import METAL
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, go, gripper_rotation
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

SHELVES = ("bottom", "middle", "top")
SAFE_AREA, SAFE_YAW = Area((0.19, -0.12), (0.03, 0.03)), (-0.25, 0.25)  # metres, radians
MONEY_AREA, MONEY_YAW = Area((0.20, 0.18), (0.09, 0.06)), (-0.35, 0.35)
SAFE_COLOR, SHELF_COLOR, PLINTH_COLOR = (0.30, 0.33, 0.37), (0.52, 0.56, 0.60), (0.2, 0.2, 0.22)
MONEY_COLOR, BAND_COLOR = (0.25, 0.60, 0.30), (0.95, 0.93, 0.80)
_MONEY = np.array([0.030, 0.028, 0.015])  # half extents; the fingers close along the first
# The safe in its own frame, metres: origin on the table in the middle of the open front, which
# faces +y.
_FLOOR, _PITCH = 0.09, 0.125  # of the lowest shelf's top; from shelf to shelf
_HALF_WIDTH, _DEPTH, _WALL, _SHELF = 0.14, 0.22, 0.008, 0.005  # wall and shelf: half thickness
_DOOR_OPENING = 0.45  # radians by which the open door is turned away from the front's plane
_INSERTION, _BEFORE = 0.04, 0.10  # of the tip behind and before the front; the palm stays outside
_DROP = 0.007  # metres between the bundle and the shelf when it is let go
_HOVER = 0.12  # metres above the bundle
_RADIUS = 0.08


class PutMoneyInSafe(Task):
    """Variation v asks for shelf v (bottom, middle, top)."""

    variations = 3
    graspable = ("money",)
    manipulated = ("money",)
    receivers = ("safe",)
    object_sizes = (0.75, 1.15)

    def fragment(self) -> Fragment:
        """A safe with its door open, and a bundle of money."""
        self.half = _MONEY * self.options.object_scale
        return Fragment(_safe() + _money(self.half), grasp_weld("money"))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The safe stands to the right and is open to the left; the money lies before it."""
        self.shelf = SHELVES[variation]
        scene.spawn("safe", SAFE_AREA, radius=_RADIUS, yaw=SAFE_YAW)
        height = TABLE_HEIGHT + self.half[2]
        scene.spawn("money", MONEY_AREA, height=height, radius=_RADIUS, yaw=MONEY_YAW)
        return [
            f"put the money away in the safe on the {self.shelf} shelf",
            f"lay the bundle of notes onto the {self.shelf} shelf of the safe",
            f"store the money on the safe's {self.shelf} shelf",
        ]

    @property
    def _floor(self) -> float:
        """Metres of the asked shelf above the table."""
        return _FLOOR + _PITCH * SHELVES.index(self.shelf)

    def success(self, scene: Scene) -> bool:
        """The money lies on the asked shelf, released."""
        middle = (0.0, -_DEPTH / 2, self._floor + _PITCH / 2)
        zone = Zone(middle, (_HALF_WIDTH, _DEPTH / 2, _PITCH / 2), "safe")
        return scene.is_inside("money", zone) and not scene.is_grasped("money")

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes; the hand turns to the horizontal on the way to the shelf."""
        money = scene.position("money")
        rotation = gripper_rotation((0, 0, -1), -scene.matrix("money")[:, 0])
        yield go(money + (0, 0, _HOVER), rotation, collide=False)
        yield go(money, rotation, grip=True)
        yield go(money + (0, 0, _HOVER), rotation, grip=True)
        across, out, _ = scene.matrix("safe").T
        forward = gripper_rotation(-out, -across)
        height = self._floor + self.half[1] + _DROP
        before = scene.to_world("safe", (0, _BEFORE, height))
        yield go(before, forward, grip=True, collide=False)
        yield go(before - (_BEFORE + _INSERTION) * out, forward)


def _money(half: np.ndarray) -> str:
    """A bundle of notes with a paper band around it."""
    band = half * (0.3, 1.0, 1.0) + 0.0004
    return free_body(
        "money",
        box(half, MONEY_COLOR, density=300, friction=(1, 0.02, 0.002), name="money_geom"),
        box(band, BAND_COLOR, class_="visual"),
    )


def _safe() -> str:
    """A fixed body `safe`: a box on a plinth, open at the front, with three shelves."""
    height = len(SHELVES) * _PITCH
    middle = _FLOOR + height / 2
    side, back = (_WALL, _DEPTH / 2, height / 2), (_HALF_WIDTH, _WALL, height / 2)
    walls = [
        box(side, SAFE_COLOR, pos=(x, -_DEPTH / 2, middle))
        for x in (-_HALF_WIDTH - _WALL, _HALF_WIDTH + _WALL)
    ]
    walls.append(box(back, SAFE_COLOR, pos=(0, _WALL - _DEPTH, middle)))
    lid = (_HALF_WIDTH + 2 * _WALL, _DEPTH / 2, _WALL)
    walls.append(box(lid, SAFE_COLOR, pos=(0, -_DEPTH / 2, _FLOOR + height + _WALL)))
    shelves = [
        box(
            (_HALF_WIDTH, _DEPTH / 2 - 0.004, _SHELF),
            SHELF_COLOR,
            pos=(0, -_DEPTH / 2 - 0.004, _FLOOR + level * _PITCH - _SHELF),
        )
        for level in range(len(SHELVES))
    ]
    plinth_top = _FLOOR - 2 * _SHELF
    plinth = (_HALF_WIDTH + _WALL, _DEPTH / 2 - 0.006, plinth_top / 2)
    base = box(plinth, PLINTH_COLOR, pos=(0, -_DEPTH / 2 - 0.006, plinth_top / 2))
    return body("safe", *walls, *shelves, base, _door(height), pos=(0, 0, TABLE_HEIGHT))


def _door(height: float) -> str:
    """The open door with a wheel and a hinge, shapes in the frame of the safe."""
    hinge = np.array([_HALF_WIDTH + 2 * _WALL, 0.0, _FLOOR + height / 2])
    along = np.array([np.cos(_DOOR_OPENING), np.sin(_DOOR_OPENING), 0.0])
    outside = np.array([np.sin(_DOOR_OPENING), -np.cos(_DOOR_OPENING), 0.0])
    center = hinge + _HALF_WIDTH * along
    turn = {"euler": (np.pi / 2, 0, 0), "class_": "visual"}
    return (
        box((_HALF_WIDTH, _WALL, height / 2), SAFE_COLOR, pos=center, euler=(0, 0, _DOOR_OPENING))
        + cylinder(0.008, height / 2, METAL, pos=hinge, class_="visual")
        + cylinder(0.035, 0.01, METAL, pos=center + 0.016 * outside, **turn)
    )
