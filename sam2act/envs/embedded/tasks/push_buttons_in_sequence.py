"""The paper's real-robot task: push three buttons in the order that the words say; our scene."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sam2act.envs.embedded.kit.buttons import InTurn, is_pressed, press_height, push_button
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go

BUTTON_COLORS = ("red", "green", "blue")
ORDERS = tuple(itertools.permutations(BUTTON_COLORS))
_AREA = Area((0.27, 0.0), (0.12, 0.26))  # metres
_RADIUS = 0.075  # metres, half of the least distance of two buttons
_HOVER = 0.90  # metres, height of the hand on its way


class PushButtonsInSequence(Task):
    """Variation v: the v-th order of red, green and blue. A wrong button spoils the episode."""

    variations = len(ORDERS)
    scene_known = False
    manipulated = BUTTON_COLORS
    told_by_looks = tuple(f"{color}_cap" for color in BUTTON_COLORS)
    object_sizes = (0.8, 1.2)

    def fragment(self) -> Fragment:
        """A button of each colour."""
        scale = self.options.object_scale
        buttons = [push_button(name, COLORS[name], scale) for name in BUTTON_COLORS]
        return sum(buttons, Fragment(""))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The buttons stand anywhere in front of the robot."""
        self.order = ORDERS[variation]
        self._presses = InTurn(self.order)
        for name in BUTTON_COLORS:
            scene.spawn(name, _AREA, radius=_RADIUS)
        first, second, third = self.order
        return [
            f"push the {first} button, then the {second} button, then the {third} button",
            f"press the buttons in this sequence: {first}, {second}, {third}",
            f"{first} first, {second} next, {third} last: push the three buttons",
        ]

    def step(self, scene: Scene) -> None:
        """Look which buttons are down."""
        for name in BUTTON_COLORS:
            if is_pressed(scene, name):
                self._presses.happens(name)

    def success(self, scene: Scene) -> bool:
        """All were pressed in their turn."""
        return self._presses.all_done

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Two keyframes per button: above it, and down."""
        for name in self.order:
            x, y, _ = scene.position(name)
            yield go((x, y, _HOVER), down(), grip=True)
            yield go((x, y, press_height(self.options.object_scale)), down(), grip=True)
