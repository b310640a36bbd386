"""RLBench: sweep the dirt into the dustpan of the named size with a broom."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, body, box, capsule, free_body, grasp_weld
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

SIZES = ("tall", "short")
DIRT = tuple(f"dirt{number}" for number in range(5))
WOOD, BRISTLES, DIRT_COLOR, PAN_COLOR, GRIP_COLOR = (
    (0.62, 0.42, 0.24),
    (0.93, 0.80, 0.35),
    (0.30, 0.22, 0.16),
    (0.20, 0.45, 0.75),
    (0.12, 0.14, 0.18),
)
# All in metres.
_HEAD_HALF = (0.095, 0.016, 0.020)  # along x, thickness, height
_GUARD_HALF = (0.004, 0.030)  # of the head's ends: along x, thickness
_GUARD_GAP = 0.002  # under the ends; standing on them, the broom would chatter in the fingers
_STICK_HALF, _STICK_TOP, _GRASP = 0.010, 0.22, 0.175  # half width; heights above the table
_DIRT_HALF, _DIRT_SPREAD = 0.008, 0.035
# A pan opens towards the middle; its front edge and its half sizes.
_PAN_FRONT, _PAN_WIDTH, _PAN_DEPTH, _PAN_WALL, _PAN_HEIGHT = 0.17, 0.13, 0.065, 0.004, 0.018
_PAN_HANDLES = {"tall": 0.22, "short": 0.06}  # their heights above the table
_MIDDLE = Area((0.29, 0.0), (0.03, 0.015))
_TURN = 0.12  # radians, largest turn of the whole scene
_BROOM_AREA = Area((0.08, 0.0), (0.02, 0.06))
_BROOM_TURN = 0.5  # radians
_HOVER, _BEHIND, _LIFT, _CLEARANCE = 0.10, 0.11, 0.07, 0.003
_SWEEP_END = 0.04  # of the broom's front behind the pan's front edge


class SweepToDustpanOfSize(Task):
    """Variation v asks for the pan with the tall (0) or the short (1) handle."""

    variations = len(SIZES)
    graspable = ("broom",)
    manipulated = ("broom",)
    receivers = SIZES
    object_sizes = (0.8, 1.1)
    receiver_sizes = (0.9, 1.25)

    def fragment(self) -> Fragment:
        """A broom, five pieces of dirt and two dustpans."""
        density, friction = 400, (0.6, 0.01, 0.001)
        half = _DIRT_HALF
        dirt = [
            free_body(
                name,
                box((half, half, half), DIRT_COLOR, density=density, friction=friction),
                pos=(0.29, 0.03 * number, TABLE_HEIGHT + half),
            )
            for number, name in enumerate(DIRT)
        ]
        pans = [_pan(size, self.options.receiver_scale) for size in SIZES]
        return Fragment(
            "".join([_broom(self.options.object_scale), *dirt, *pans]), grasp_weld("broom")
        )

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The pans face each other with the dirt between them; which one is left is random."""
        size = SIZES[variation]
        self._pan = size
        middle = scene.random.uniform(-1, 1, 2) * _MIDDLE.half + _MIDDLE.center
        turn = scene.random.uniform(-_TURN, _TURN)
        sides = scene.random.permutation([0.0, np.pi])
        for pan, side in zip(SIZES, sides, strict=True):
            scene.place(pan, (*middle, TABLE_HEIGHT), yaw=turn + side)
        area = Area((middle[0], middle[1]), (_DIRT_SPREAD, _DIRT_SPREAD))
        for piece in DIRT:
            height = TABLE_HEIGHT + _DIRT_HALF
            scene.spawn(piece, area, height=height, radius=0.013, yaw=(-np.pi, np.pi))
        scene.spawn("broom", _BROOM_AREA, radius=0.05, yaw=(-_BROOM_TURN, _BROOM_TURN))
        return [
            f"sweep dirt to the {size} dustpan",
            f"take the broom and sweep all the dirt into the {size} dustpan",
            f"brush the dirt off the table into the {size} dustpan",
            f"clean up with the broom, using the {size} dustpan",
        ]

    def success(self, scene: Scene) -> bool:
        """All pieces of dirt lie in the right pan."""
        scale = self.options.receiver_scale
        depth = scale * _PAN_DEPTH
        zone = Zone((0.0, _PAN_FRONT + depth, 0.02), (scale * _PAN_WIDTH, depth, 0.03), self._pan)
        return all(scene.is_inside(piece, zone) for piece in DIRT)

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes: over the broom, its stick, behind the dirt, down, into the pan."""
        scale = self.options.object_scale
        stick = scene.position("broom") + (0, 0, _GRASP * scale)
        pick, turn = down(scene.yaw("broom")), down(scene.yaw(self._pan))
        height = _GRASP * scale + _CLEARANCE
        behind = scene.to_world(self._pan, (0, -_BEHIND, height))
        end = _PAN_FRONT + _SWEEP_END - _HEAD_HALF[1] * scale
        yield go(stick + (0, 0, _HOVER), pick, collide=False)
        yield go(stick, pick, grip=True)
        yield go(behind + (0, 0, _LIFT), turn, grip=True)
        yield go(behind, turn, grip=True)
        yield go(scene.to_world(self._pan, (0, end, height)), turn, grip=True)


def _broom(scale: float) -> str:
    """A wide head with an upright stick, standing on the table; the origin lies beneath it."""
    length, thickness, height = scale * np.array(_HEAD_HALF)
    top, half = scale * _STICK_TOP, scale * _STICK_HALF
    stick_half = (top - 2 * height) / 2
    heavy = {"density": 150, "friction": (0.5, 0.01, 0.001)}
    # Without guards a piece of dirt now and then slides off an end of the head.
    guard, reach = scale * np.array(_GUARD_HALF)
    guards = [
        box(
            (guard, reach, height),
            BRISTLES,
            pos=(side * (length - guard), 0, height + _GUARD_GAP),
            **heavy,
        )
        for side in (-1, 1)
    ]
    return free_body(
        "broom",
        box((length, thickness, height), BRISTLES, pos=(0, 0, height), **heavy),
        *guards,
        box(
            (length - 2 * guard, thickness + 0.001, 0.35 * height),
            WOOD,
            pos=(0, 0, 1.7 * height),
            class_="visual",
        ),
        box(
            (half, half, stick_half),
            WOOD,
            pos=(0, 0, top - stick_half),
            density=150,
            friction=(1, 0.02, 0.002),
        ),
        pos=(0.08, 0, TABLE_HEIGHT),
    )


def _pan(size: str, scale: float) -> str:
    """A dustpan that opens towards -y; the origin lies in front of it, in the scene's middle.

    Its floor is only seen: dirt slides in without a step.
    """
    width, depth, half = scale * _PAN_WIDTH, scale * _PAN_DEPTH, scale * _PAN_HEIGHT
    wall, middle = _PAN_WALL, _PAN_FRONT + depth
    back, top = middle + depth + wall, scale * _PAN_HANDLES[size]
    sides = [
        box((wall, depth, half), PAN_COLOR, pos=(side * (width + wall), middle, half))
        for side in (-1, 1)
    ]
    floor = box((width, depth, 0.0008), PAN_COLOR, pos=(0, middle, 0.0008), class_="visual")
    rear = box((width + 2 * wall, wall, half), PAN_COLOR, pos=(0, back, half))
    handle = capsule((0, back + 0.01, 0.015), (0, back + 0.01, top), 0.012, GRIP_COLOR)
    return body(size, *sides, floor, rear, handle, pos=(0.29, 0, TABLE_HEIGHT))
