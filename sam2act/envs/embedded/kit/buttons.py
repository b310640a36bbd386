"""Large push buttons on the table, and events that must come in a given order."""

from __future__ import annotations

from collections.abc import Sequence

from sam2act.envs.embedded.kit.mjcf import Color, Fragment, Vector, body, cylinder, element
from sam2act.envs.embedded.kit.parts import spring_slide
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

TRAVEL, PRESSED = 0.010, 0.004  # metres: of a cap, and from where on it counts as pressed
_DEPTH = 0.008  # metres of the fingertips below the top of the cap at the end of a press
_RADIUS, _COLLAR, _CAP = 0.040, 0.050, 0.018  # metres: of cap and collar; height of the cap
_COLLAR_HEIGHT = 0.022
DARK = (0.16, 0.17, 0.19)


def push_cap(name: str, radius: float, height: float, color: Color, pos: Vector) -> str:
    """A round cap that springs back: body `NAME_cap`, slide `NAME_joint` that grows when pressed.

    Args:
        name: of the button.
        radius: metres.
        height: of the whole cap, metres.
        color: red, green, blue in [0, 1].
        pos: (3,) of its lower end in the frame of its carrier, metres.
    """
    step = 0.3 * height  # of the narrower upper part
    return body(
        f"{name}_cap",
        spring_slide(f"{name}_joint", TRAVEL),
        cylinder(radius, (height - step) / 2, color, pos=(0, 0, (height - step) / 2)),
        cylinder(0.85 * radius, step / 2, color, pos=(0, 0, height - step / 2)),
        pos=pos,
    )


def sinks_into(carrier: str, name: str) -> str:
    """The exclusion that lets the cap of button `name` sink into the body below it."""
    return element("exclude", body1=carrier, body2=f"{name}_cap")


def push_button(name: str, color: Color, scale: float = 1.0) -> Fragment:
    """A button as wide as a hand, 10 cm; fixed body `name` with a dark collar, and its cap."""
    height, radius = scale * _COLLAR_HEIGHT, scale * _COLLAR
    bodies = body(
        name,
        cylinder(radius, height / 2, DARK, pos=(0, 0, height / 2)),
        push_cap(name, scale * _RADIUS, scale * _CAP, color, (0, 0, height)),
        pos=(0, 0, TABLE_HEIGHT),
    )
    return Fragment(bodies, exclusions=sinks_into(name, name))


def press_height(scale: float = 1.0) -> float:
    """World height of the closed fingertips at the end of a press, metres."""
    return TABLE_HEIGHT + scale * (_COLLAR_HEIGHT + _CAP) - _DEPTH


def is_pressed(scene: Scene, name: str) -> bool:
    """Whether a button is down now."""
    return scene.joint(f"{name}_joint") > PRESSED


class InTurn:
    """Events that must come in a given order; one that is not due spoils it for good.

    The event that came last may go on or come again.
    """

    def __init__(self, due: Sequence[str]) -> None:
        self._due, self._done, self.spoilt = list(due), 0, False

    @property
    def next(self) -> str | None:
        """What is due; None if all has come."""
        return self._due[self._done] if self._done < len(self._due) else None

    def happens(self, event: str) -> None:
        """Take note of an event."""
        if event == self.next:
            self._done += 1
        elif self._done == 0 or event != self._due[self._done - 1]:
            self.spoilt = True

    @property
    def all_done(self) -> bool:
        """Whether all came, and nothing else."""
        return self.next is None and not self.spoilt
