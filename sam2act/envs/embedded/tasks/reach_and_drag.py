"""RLBench's reach_and_drag: use a stick to drag a cube onto the target of the asked colour.

The stick is a crook: its cross-piece is lowered behind the cube, with the handle beside it, and the
cube is dragged towards the hand.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, box, free_body, grasp_weld
from sam2act.envs.embedded.kit.parts import COLORS, cube, patch
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

TARGETS = tuple(f"target{number}" for number in range(4))
CUBE_COLOR, STICK_COLOR, GRIP_COLOR = (1.0, 0.72, 0.78), (0.50, 0.32, 0.18), (0.25, 0.16, 0.10)
_CUBE_HALF, _TARGET_HALF = 0.024, 0.035

# The stick in its own frame, metres: grasped at the origin, the handle along x, the hook towards y.
_REACH, _TAIL = 0.19, 0.06  # from the grasp to the cross-piece, to the other end
_WIDTH_HALF, _HEIGHT_HALF = 0.009, 0.013
_HOOK = 0.11  # length of the cross-piece
_LIP_HALF = 0.010  # half of the length of the bent end of the cross-piece
_CUBE_BESIDE = (_WIDTH_HALF + _HOOK - 2 * _WIDTH_HALF) / 2  # y of the middle of the hook's mouth

# Where things lie. The targets form an arc on the robot's side of the cube, so that any of them can
# be the one asked for.
_CUBE_AREA = Area((0.415, 0.0), (0.025, 0.03))
_DISTANCES, _ARC_TURN = (0.15, 0.17), np.deg2rad(6)  # metres from the cube, radians
_ARC = np.deg2rad([-60, -20, 20, 60])  # from the direction towards the robot
_STICK_AREA = Area((0.15, 0.29), (0.04, 0.03))  # on the left; mirrored on the right
_STICK_YAW = np.deg2rad(20)
_CUBE_YAW = np.deg2rad(30)

_HOVER, _LIFT, _CARRY = 0.10, 0.12, 0.09  # metres above the grasp
_DRAG = 0.005  # metres between the dragged stick and the table
_BEHIND = 0.030  # metres between the cube and the cross-piece that is lowered behind it


class ReachAndDrag(Task):
    """Variation v: colour v."""

    variations = len(COLORS)
    graspable = ("stick",)
    manipulated = ("stick",)
    receivers = ("cube",)
    told_by_looks = TARGETS
    lookalikes = ("box",)
    pushed = ("cube",)
    receiver_sizes = (0.5, 1.0)

    def fragment(self) -> Fragment:
        """Four targets, a cube and a stick."""
        targets = "".join(patch(name, _TARGET_HALF) for name in TARGETS)
        return Fragment(
            targets + cube("cube", CUBE_COLOR, self._half) + _stick(), grasp_weld("stick")
        )

    @property
    def _half(self) -> float:
        """Half of the cube's edge, metres."""
        return _CUBE_HALF * self.options.receiver_scale

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Colours change places; the stick lies on either side."""
        names = list(COLORS)
        color = names[variation]
        others = [name for name in names if name != color]
        colors = [color, *scene.random.choice(others, len(TARGETS) - 1, replace=False)]
        center = scene.spawn(
            "cube",
            _CUBE_AREA,
            height=TABLE_HEIGHT + self._half,
            yaw=(-_CUBE_YAW, _CUBE_YAW),
        )
        self._place_targets(scene, center[:2])
        for name, paint in zip(TARGETS, colors, strict=True):
            scene.set_color(name, COLORS[paint])
        self._place_stick(scene)
        return [
            f"use the stick to drag the cube onto the {color} target",
            f"with the stick, pull the cube to the {color} square",
            f"pick up the stick and move the cube onto the {color} patch with it",
        ]

    @staticmethod
    def _place_targets(scene: Scene, center: np.ndarray) -> None:
        distance = scene.random.uniform(*_DISTANCES)
        turn = scene.random.uniform(-_ARC_TURN, _ARC_TURN)
        for name, angle in zip(TARGETS, scene.random.permutation(_ARC) + turn, strict=True):
            spot = center - distance * np.array([np.cos(angle), np.sin(angle)])
            scene.place(name, (*spot, TABLE_HEIGHT), yaw=angle)

    @staticmethod
    def _place_stick(scene: Scene) -> None:
        side = scene.random.choice([-1, 1])
        x, y = _STICK_AREA.center
        # The hook points to the left: shifted, the whole stick lies in the middle of either side.
        area = Area((x, side * y - _HOOK / 4), _STICK_AREA.half)
        yaw = (-_STICK_YAW, _STICK_YAW)
        scene.spawn("stick", area, height=TABLE_HEIGHT + _HEIGHT_HALF, yaw=yaw)

    def success(self, scene: Scene) -> bool:
        """The cube's middle is above the target."""
        half = (_TARGET_HALF, _TARGET_HALF, 0.02)
        return scene.is_inside("cube", Zone((0, 0, self._half), half, TARGETS[0]))

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Six keyframes; the stick is taken between its middle and its end."""
        stick = scene.position("stick")
        turned = down(scene.yaw("stick"))
        yield go(stick + (0, 0, _HOVER), turned, collide=False)
        yield go(stick, turned, grip=True)
        yield go(stick + (0, 0, _LIFT), turned, grip=True)
        here, target = scene.position("cube"), scene.position(TARGETS[0])
        along = (target - here)[:2]
        distance = np.linalg.norm(along)
        along = np.array([*along / distance, 0.0])
        beside = np.cross((0, 0, 1), -along)
        rotation = down(np.arctan2(-along[1], -along[0]))
        # Where the hand is when the cross-piece touches the cube.
        touching = here + along * (_REACH - self._half - _WIDTH_HALF) - _CUBE_BESIDE * beside
        touching[2] = stick[2] + _DRAG
        behind = touching - _BEHIND * along
        yield go(behind + (0, 0, _CARRY), rotation, grip=True, collide=False)
        yield go(behind, rotation, grip=True)
        yield go(touching + distance * along, rotation, grip=True)


def _stick() -> str:
    """A crook that lies on the table; origin where it is grasped."""
    length = (_REACH + _TAIL) / 2
    options = {"density": 300, "friction": (1, 0.02, 0.002)}
    lip = (_REACH - _WIDTH_HALF - _LIP_HALF, _HOOK - _WIDTH_HALF, 0)
    grip = (_TAIL / 2 + 0.02, _WIDTH_HALF + 0.0005, _HEIGHT_HALF + 0.0005)
    cross = (_WIDTH_HALF, _HOOK / 2, _HEIGHT_HALF)
    return free_body(
        "stick",
        box(
            (length, _WIDTH_HALF, _HEIGHT_HALF), STICK_COLOR, pos=(length - _TAIL, 0, 0), **options
        ),
        box(cross, STICK_COLOR, pos=(_REACH, _HOOK / 2 - _WIDTH_HALF, 0), **options),
        box((_LIP_HALF, _WIDTH_HALF / 2, _HEIGHT_HALF), STICK_COLOR, pos=lip, **options),
        box(grip, GRIP_COLOR, pos=(0.02 - grip[0] / 2, 0, 0), class_="visual"),
        pos=(0, 0, TABLE_HEIGHT + _HEIGHT_HALF),
    )
