"""What put_block_back and rearrange_block share: slots on the table, onto which blocks snap.

The scene after the button press must look the same whatever came before. Therefore a block that is
put down within millimetres of a slot snaps onto it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sam2act.envs.embedded.kit.parts import BUTTON_PRESS_HEIGHT, CUBE_HALF
from sam2act.envs.embedded.kit.scene import Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

CENTER = np.array([0.25, 0.0])
PRESSED_TRAVEL = 0.003  # metres, RLBench's threshold
_HOVER, _BUTTON_HOVER = 0.90, 0.86  # heights of the tip, metres
_GRASP, _RELEASE = 0.7695, 0.7715
_ON_TABLE_BELOW = 0.79  # height of a block's centre, metres
_NEAR, _AWAY = 0.03, 0.045  # metres per axis: at a slot; no longer at it
_SNAP = 0.008  # metres per axis

Slot = np.ndarray  # (2,) metres, world frame


class MemoryBlocks(Task):
    """A MemoryBench task in which blocks travel between slots."""

    slots: tuple[Slot, ...] = ()

    def released(self, scene: Scene, body: str) -> None:
        """Snap an upright block near a slot exactly onto it."""
        position = scene.position(body)
        upright = scene.matrix(body)[2, 2] > 0.99
        if not self.options.memory_strict or not upright or position[2] > _ON_TABLE_BELOW:
            return
        for slot in self.slots:
            if np.abs(position[:2] - slot).max() < _SNAP:
                scene.place(body, (*slot, TABLE_HEIGHT + CUBE_HALF))

    @staticmethod
    def is_pressed(scene: Scene) -> bool:
        """Whether the button is down now."""
        return scene.joint("button_joint") > PRESSED_TRAVEL

    @staticmethod
    def is_at(scene: Scene, body: str, slot: Slot, near: float = _NEAR) -> bool:
        """Whether a block lies on the table at `slot`, within `near` metres per axis."""
        height = (TABLE_HEIGHT + _ON_TABLE_BELOW) / 2
        half = (near, near, _ON_TABLE_BELOW - height)
        return scene.is_inside(body, Zone((*slot, height), half))

    def has_left(self, scene: Scene, body: str, slot: Slot) -> bool:
        """Whether a block is no longer at `slot`."""
        return not self.is_at(scene, body, slot, _AWAY)

    @staticmethod
    def pick(slot: Slot, *, collide: bool = False) -> Iterable[Waypoint]:
        """Hover over a slot with open fingers, then grasp what lies there."""
        yield go((*slot, _HOVER), down(), collide=collide)
        yield go((*slot, _GRASP), down(), grip=True)

    @staticmethod
    def put(slot: Slot) -> Iterable[Waypoint]:
        """Carry what is held over a slot, then put it down."""
        yield go((*slot, _HOVER), down(), grip=True)
        yield go((*slot, _RELEASE), down())

    @staticmethod
    def leave(slot: Slot) -> Waypoint:
        """Rise from a slot with open fingers."""
        return go((*slot, _HOVER), down())

    @staticmethod
    def press(scene: Scene) -> Iterable[Waypoint]:
        """Close the fingers over the button, on a way that touches nothing, and press it."""
        button = scene.position("button")[:2]
        yield go((*button, _BUTTON_HOVER), down(), grip=True, collide=False)
        yield go((*button, BUTTON_PRESS_HEIGHT), down(), grip=True)
