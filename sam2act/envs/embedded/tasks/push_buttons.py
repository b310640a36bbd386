"""RLBench: push one to three of three buttons, which are told apart by colour, in an order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.kit.placing import Boundary
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import LatchedConditions, Waypoint

BUTTONS = ("push_buttons_target0", "push_buttons_target1", "push_buttons_target2")
PLATES = ("target_button_topPlate0", "target_button_topPlate1", "target_button_topPlate2")
JOINTS = ("target_button_joint0", "target_button_joint1", "target_button_joint2")
WRAPS = ("target_button_wrap0", "target_button_wrap1", "target_button_wrap2")
PRESSED_TRAVEL = 0.001  # metres
LEAST_DISTANCE = 0.1  # metres between two buttons
HOVER = 0.083  # metres of the tip above a button
PLATE_COLOR = "red"
_FRICTION = 0.3

BASE_COLORS = tuple(name for name in COLORS if name not in ("red", "lime"))


class PushButtons(PublishedTask):
    """Variation v asks for 1 + v mod 3 buttons in the colours of permutation v div 3.

    The permutations of three colours come in lexicographic order, so that the first button is
    maroon in every variation.
    """

    variations = 50
    manipulated = PLATES
    told_by_looks = BUTTONS

    @classmethod
    def asked_colors(cls, variation: int) -> list[str]:
        """The colours of variation `variation`, in the order of pressing."""
        number, further = divmod(variation, len(BUTTONS))
        orders = itertools.permutations(BASE_COLORS, len(BUTTONS))
        return list(next(itertools.islice(orders, number, None)))[: 1 + further]

    def looks(self) -> Mapping[str, Look]:
        """Closed fingers, pressed down, must not stick to a button on the way to the next."""
        return dict.fromkeys((*BUTTONS, *PLATES), Look(friction=_FRICTION))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The buttons in random places; those that are not asked for get spare colours."""
        self.asked = self.asked_colors(variation)
        self._done = LatchedConditions(len(self.asked), ordered=True)
        spare = [name for name in BASE_COLORS if name not in self.asked]
        spare = scene.random.permutation(spare)[: len(BUTTONS) - len(self.asked)].tolist()
        boundary = Boundary(scene.frames, ["push_buttons_boundary"], scene.random)
        for name, color in zip(BUTTONS, [*self.asked, *spare], strict=True):
            scene.set_color(name, COLORS[color])
            boundary.sample(name, min_distance=LEAST_DISTANCE)
        for name in (*PLATES, *WRAPS):
            scene.set_color(name, COLORS[PLATE_COLOR])
        self._unpressed = np.array([scene.joint(name) for name in JOINTS])
        return [
            _sentence("push the {} button", ", then push the {} button", self.asked),
            _sentence("press the {} button", ", and after it the {} button", self.asked),
            _sentence("tap the button on the {} base", ", next the one on the {} base", self.asked),
        ]

    def step(self, scene: Scene) -> None:
        """An asked button counts only in its turn; others may be pressed without harm."""
        travel = np.abs([scene.joint(name) for name in JOINTS] - self._unpressed)
        self._done.update(*(travel > PRESSED_TRAVEL)[: len(self.asked)])

    def success(self, scene: Scene) -> bool:
        """All asked buttons were pressed in the order asked."""
        return self._done.all_met

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Two keyframes per asked button; the hand is always turned like the first button."""
        for button in BUTTONS[: len(self.asked)]:
            above = scene.frames.pose("waypoint0")
            above[:3, 3] = scene.frames.pose(button)[:3, 3] + (0, 0, HOVER)
            scene.frames.move("waypoint0", above)
            yield from super().waypoints(scene)


class AnyColors(PushButtons):
    """Each variation has its own colours, in an order drawn once and for all: the words count."""

    @classmethod
    def asked_colors(cls, variation: int) -> list[str]:
        """The colours of variation `variation`, in the order of pressing."""
        order = np.random.default_rng(variation).permutation(BASE_COLORS)
        return order[: 1 + variation % len(BUTTONS)].tolist()


VARIANTS = {"any_colors": AnyColors}


def _sentence(first: str, further: str, colors: list[str]) -> str:
    parts = [first, *[further] * (len(colors) - 1)]
    return "".join(part.format(color) for part, color in zip(parts, colors, strict=True))
