"""The paper's real-robot memory task: push a button, and later the same one again; our scene.

One of three equal buttons is lit. Its light goes out for good when it is pressed, and after the
hand has returned over the mat nothing tells any more which button it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sam2act.envs.embedded.kit.buttons import InTurn, is_pressed, press_height, push_button
from sam2act.envs.embedded.kit.memory import MemoryTask
from sam2act.envs.embedded.kit.mjcf import Fragment, body, box
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

BUTTONS, MAT = ("button0", "button1", "button2"), "mat"
UNLIT, LIT, MAT_COLOR = (0.34, 0.35, 0.38), (0.25, 1.0, 0.35), (0.88, 0.87, 0.84)
# Metres: middles of where things stand, from the robot's left to its right, and how far they vary.
PLACES, MAT_PLACE = ((0.27, 0.23), (0.37, 0.0), (0.27, -0.23)), (0.13, 0.0)
VARIES = 0.03
HOVER = 0.90  # height of the hand on its way
_MAT_HALF = 0.065
_OVER_THE_MAT = Zone((0, 0, 0.125), (_MAT_HALF, _MAT_HALF, 0.125), MAT)


class PushSameButton(MemoryTask):
    """Variation v lights button v. A wrong button spoils the episode."""

    variations = len(BUTTONS)
    scene_known = False
    manipulated = BUTTONS
    receivers = (MAT,)
    told_by_looks = tuple(f"{name}_cap" for name in BUTTONS)
    object_sizes = (0.8, 1.2)

    def fragment(self) -> Fragment:
        """Three buttons around a mat."""
        scale = self.options.object_scale
        buttons = [push_button(name, UNLIT, scale) for name in BUTTONS]
        mat = box((_MAT_HALF, _MAT_HALF, 0.001), MAT_COLOR, pos=(0, 0, 0.001), class_="visual")
        return sum(buttons, Fragment(body(MAT, mat, pos=(0, 0, TABLE_HEIGHT))))

    def lay_out(self, scene: Scene) -> None:
        """Everything stands near its place."""
        for name, place in zip((*BUTTONS, MAT), (*PLACES, MAT_PLACE), strict=True):
            scene.spawn(name, Area(place, (VARIES, VARIES)))

    def begin(self, scene: Scene, variation: int) -> list[str]:
        """One button is lit."""
        self.asked = BUTTONS[variation]
        self._events = InTurn((self.asked, MAT, self.asked))
        for name in BUTTONS:
            scene.set_color(f"{name}_cap", LIT if name == self.asked else UNLIT)
        return [
            "push the button that is lit, return over the mat, and push the same button again",
            "press the lit button, go back over the mat, then press that button once more",
            "push the shining button twice, and visit the mat in between",
        ]

    def step(self, scene: Scene) -> None:
        """Look which buttons are down, and whether the hand is back over the mat."""
        for name in BUTTONS:
            if is_pressed(scene, name):
                self._events.happens(name)
                scene.set_color(f"{self.asked}_cap", UNLIT)
        if self._events.next == MAT and scene.is_tip_inside(_OVER_THE_MAT):
            self._events.happens(MAT)

    def success(self, scene: Scene) -> bool:
        """The lit button was pressed, and again after the return, and no other."""
        return self._events.all_done

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes: above the button, down, over the mat, and the first two again.

        Over the mat the hand opens, and while it does so the arm comes to rest.
        """
        x, y, _ = scene.position(self.asked)
        above = go((x, y, HOVER), down(), grip=True)
        press = go((x, y, press_height(self.options.object_scale)), down(), grip=True)
        mat = scene.position(MAT)
        yield from (above, press, go((*mat[:2], HOVER), down()), above, press)

    def alike(self) -> Mapping[int, str]:
        """Over the mat."""
        return {2: "over the mat"}
