"""RLBench: push a block over the table onto the target of the asked colour."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, box, free_body
from sam2act.envs.embedded.kit.parts import COLORS, patch
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

TARGETS = ("green", "blue", "pink", "yellow")
TARGET_COLORS = (COLORS["green"], COLORS["blue"], (1.0, 0.45, 0.75), COLORS["yellow"])
BLOCK_COLOR = COLORS["red"]
BLOCK_HALF, TARGET_HALF = 0.025, 0.05  # metres
DISTANCE = 0.16  # metres from the block to every target
# Where the targets lie, as turns from the direction away from the arm.
DIRECTIONS = (0.0, np.pi / 2, np.pi, -np.pi / 2)
AREA, LAYOUT_YAW = Area((0.28, 0.0), (0.03, 0.08)), (-0.35, 0.35)  # metres, radians
_RADIUS = 0.26  # metres: block and targets
_ZONE = 0.035  # metres per axis that the block may be off the middle of the target
_PAD_HALF = 0.0095  # metres, of a closed fingertip along the push
# Metres from the block's face to the fingertip's: before a push, and on the way around.
_BEFORE, _AROUND = 0.045, 0.105
_TIP_FRACTION = 0.35  # height of the tip as part of the block's edge; the palm clears the block


class SlideBlockToColorTarget(Task):
    """Variation v asks for target v (green, blue, pink, yellow)."""

    variations = 4
    manipulated = ("block",)
    told_by_looks = tuple(f"target_{name}" for name in TARGETS)
    lookalikes = ("box",)
    pushed = ("block",)
    object_sizes = (0.75, 1.25)

    def fragment(self) -> Fragment:
        """A block that slides and cannot be grasped, and four targets."""
        self.half = BLOCK_HALF * self.options.object_scale
        # The block's priority makes its own friction count instead of the table's, which is
        # larger: it slides and does not tip.
        block = box(
            (self.half,) * 3,
            BLOCK_COLOR,
            density=300,
            friction=(0.6, 0.01, 0.001),
            priority=1,
            name="block_geom",
        )
        targets = zip(TARGETS, TARGET_COLORS, strict=True)
        patches = "".join(patch(f"target_{name}", TARGET_HALF, color) for name, color in targets)
        return Fragment(patches + free_body("block", block))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The block lies in the middle of the four targets, which are arranged at random."""
        self.color = TARGETS[variation]
        height = TABLE_HEIGHT + self.half
        middle = scene.spawn("block", AREA, height=height, radius=_RADIUS, yaw=LAYOUT_YAW)
        turn = scene.yaw("block")
        order = scene.random.permutation(len(TARGETS))
        for name, side in zip(TARGETS, order, strict=True):
            spot = middle[:2] + DISTANCE * _direction(turn + DIRECTIONS[side])
            scene.place(f"target_{name}", (*spot, TABLE_HEIGHT), yaw=turn)
        self.turn = turn
        self.side = int(order[variation])
        return [
            f"slide the block to {self.color} target",
            f"push the block onto the {self.color} square",
            f"move the cube across the table until it lies on the {self.color} target",
        ]

    def success(self, scene: Scene) -> bool:
        """The block lies on the asked target."""
        half = (_ZONE, _ZONE, 1.5 * self.half)
        return scene.is_inside("block", Zone((0, 0, self.half), half, f"target_{self.color}"))

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Two keyframes if the target lies beyond the block, five around the block otherwise."""
        along = _direction(self.turn + DIRECTIONS[self.side])
        contact = self.half + _PAD_HALF
        middle = scene.position("block")[:2]
        yaw = self.turn + DIRECTIONS[self.side]
        yield self._at(
            middle - (contact + _BEFORE) * _direction(self.turn), self.turn, collide=False
        )
        for spot in self._way_around(middle, contact + _AROUND):
            yield self._at(spot, yaw, collide=False)
        if self.side != 0:
            yield self._at(middle - (contact + _BEFORE) * along, yaw, collide=False)
        target = scene.position(f"target_{self.color}")[:2]
        yield self._at(target - contact * along, yaw)

    def _way_around(self, middle: np.ndarray, distance: float) -> list[np.ndarray]:
        """Spots (2,) on the way from the near side to where the push begins."""
        ahead, left = _direction(self.turn), _direction(self.turn + np.pi / 2)
        if self.side == 0:
            return []
        if self.side == 2:
            return [middle + distance * (left - ahead), middle + distance * (left + ahead)]
        side = -left if self.side == 1 else left
        return [middle + distance * (side - ahead), middle + distance * side]

    def _at(self, spot: np.ndarray, yaw: float, *, collide: bool = True) -> Waypoint:
        height = TABLE_HEIGHT + _TIP_FRACTION * 2 * self.half
        return go((*spot, height), down(yaw), grip=True, collide=collide)


def _direction(yaw: float) -> np.ndarray:
    return np.array([np.cos(yaw), np.sin(yaw)])
