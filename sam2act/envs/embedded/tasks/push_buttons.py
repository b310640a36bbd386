"""RLBench: push one to three of three buttons, which are told apart by colour, in an order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.parts import BUTTON_PRESS_HEIGHT, COLORS, button
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import LatchedConditions, Task, Waypoint, down, go

BUTTONS = ("button0", "button1", "button2")
PRESSED_TRAVEL = 0.001  # metres, the threshold of the reference fork
UNUSED, PRESSED = ("red", "lime"), "lime"  # plates are red, and lime once pressed
AREA = Area((0.24, 0.0), (0.15, 0.26))
_RADIUS = 0.06  # metres, half of the least distance of two buttons
_HOVER = 0.87  # height of the tip, metres

BASE_COLORS = tuple(name for name in COLORS if name not in UNUSED)


class PushButtons(Task):
    """Variation v asks for 1 + v mod 3 buttons in colours drawn once and for all for v."""

    variations = 50
    manipulated = tuple(f"{name}_plate" for name in BUTTONS)
    told_by_looks = tuple(f"{name}_base" for name in BUTTONS)

    def fragment(self) -> Fragment:
        """Three buttons."""
        plate = COLORS["red"]
        return Fragment("".join(button(name, plate=plate) for name in BUTTONS))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The buttons in random places; those that are not asked for get spare colours."""
        self.asked = asked_colors(variation)
        self._done = LatchedConditions(len(self.asked), ordered=True)
        spare = [name for name in BASE_COLORS if name not in self.asked]
        spare = scene.random.permutation(spare)[: len(BUTTONS) - len(self.asked)].tolist()
        for name, color in zip(BUTTONS, [*self.asked, *spare], strict=True):
            scene.spawn(name, AREA, radius=_RADIUS, yaw=(-np.pi / 4, np.pi / 4))
            scene.set_color(f"{name}_base", COLORS[color])
        return [
            _sentence("push the {} button", ", then push the {} button", self.asked),
            _sentence("press the {} button", ", and after it the {} button", self.asked),
            _sentence("tap the button on the {} base", ", next the one on the {} base", self.asked),
        ]

    def step(self, scene: Scene) -> None:
        """A pressed plate turns lime; an asked button counts only in its turn."""
        pressed = [scene.joint(f"{name}_joint") > PRESSED_TRAVEL for name in BUTTONS]
        self._done.update(*pressed[: len(self.asked)])
        for name, is_pressed in zip(BUTTONS, pressed, strict=True):
            if is_pressed:
                scene.set_color(f"{name}_plate_geom", COLORS[PRESSED])

    def success(self, scene: Scene) -> bool:
        """All asked buttons were pressed in the order asked."""
        return self._done.all_met

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Two keyframes per asked button."""
        for name in BUTTONS[: len(self.asked)]:
            spot = scene.position(name)[:2]
            rotation = down(scene.yaw(name), symmetry=4)
            yield go((*spot, _HOVER), rotation, grip=True, collide=False)
            yield go((*spot, BUTTON_PRESS_HEIGHT), rotation, grip=True)


def asked_colors(variation: int) -> list[str]:
    """The colours of variation `variation`, in the order of pressing."""
    order = np.random.default_rng(variation).permutation(BASE_COLORS)
    return order[: 1 + variation % len(BUTTONS)].tolist()


def _sentence(first: str, further: str, colors: list[str]) -> str:
    parts = [first, *[further] * (len(colors) - 1)]
    return "".join(part.format(color) for part, color in zip(parts, colors, strict=True))
