"""RLBench's close_jar: screw the lid onto the jar of the asked colour.

There is no screw thread: the lid is lowered onto the rim, turned there by a quarter and let go. A
lid that lies on the rim counts as closed, as in RLBench.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, body, box, cylinder, free_body, grasp_weld
from sam2act.envs.embedded.kit.parts import COLORS, ring_of_boxes
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

JARS = ("jar0", "jar1")
LID_COLOR, KNOB_COLOR = (0.45, 0.45, 0.47), (0.35, 0.35, 0.37)
MARK_COLOR = (0.62, 0.62, 0.64)
# Sizes in metres at size 1. A lid's origin is the middle of its disc.
_RADIUS, _WALL, _JAR_HALF_HEIGHT = 0.036, 0.004, 0.036
_LID_RADIUS, _LID_HALF_HEIGHT = 0.042, 0.007
_KNOB_RADIUS, _KNOB_HALF_HEIGHT = 0.016, 0.015
_MARK_HALF = (0.003, 0.03, 0.0006)  # a stripe that shows how far the lid has been turned

# A hand that grasps the lid on the table would hit a jar closer than 0.10 + 0.04 metres.
_AREA, _RADIUS_APART = Area((0.27, 0.0), (0.16, 0.28)), 0.085
_TURN = np.pi / 2  # radians, from half of it on one side to the other
_HOVER, _ABOVE_JAR, _GAP = 0.10, 0.08, 0.003  # metres above the grasp, the rim, the rim
_ZONE_HALF = (0.016, 0.016, 0.010)


class CloseJar(Task):
    """Variation v: colour v."""

    variations = len(COLORS)
    graspable = ("lid",)
    manipulated = ("lid",)
    receivers = JARS
    told_by_looks = JARS
    object_sizes = (0.95, 1.25)
    receiver_sizes = (0.8, 1.0)

    def fragment(self) -> Fragment:
        """Two jars and a lid."""
        jars = "".join(_jar(name, self.options.receiver_scale) for name in JARS)
        return Fragment(jars + _lid(self.options.object_scale), grasp_weld("lid"))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Jars and lid stand at random places; the other jar has any other colour."""
        names = list(COLORS)
        color = names[variation]
        other = scene.random.choice([name for name in names if name != color])
        for jar, paint in zip(JARS, (color, other), strict=True):
            scene.spawn(jar, _AREA, radius=_RADIUS_APART)
            scene.set_color(jar, COLORS[paint])
        height = TABLE_HEIGHT + _LID_HALF_HEIGHT * self.options.object_scale
        scene.spawn("lid", _AREA, height=height, radius=_RADIUS_APART, yaw=(-_TURN, _TURN))
        return [
            f"close the {color} jar",
            f"screw the lid onto the {color} jar",
            f"pick up the lid and shut the {color} jar with it",
        ]

    def _lid_on_jar(self) -> tuple[float, float, float]:
        """Where the lid's origin belongs in the frame of a jar, metres."""
        jar = 2 * _JAR_HALF_HEIGHT * self.options.receiver_scale
        return (0, 0, jar + _LID_HALF_HEIGHT * self.options.object_scale)

    def success(self, scene: Scene) -> bool:
        """The lid lies on the rim of the right jar, and nothing is grasped."""
        on_rim = scene.is_inside("lid", Zone(self._lid_on_jar(), _ZONE_HALF, JARS[0]))
        return on_rim and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Six keyframes; the last one turns the lid and lets it go."""
        knob = (_LID_HALF_HEIGHT + _KNOB_HALF_HEIGHT) * self.options.object_scale
        grasp = scene.position("lid") + (0, 0, knob)
        closed = scene.to_world(JARS[0], self._lid_on_jar()) + (0, 0, knob + _GAP)
        before, after = (down(sign * _TURN / 2) for sign in (-1, 1))
        yield go(grasp + (0, 0, _HOVER), before, collide=False)
        yield go(grasp, before, grip=True)
        yield go(grasp + (0, 0, _HOVER), before, grip=True)
        yield go(closed + (0, 0, _ABOVE_JAR), before, grip=True)
        yield go(closed, before, grip=True)
        yield go(closed, after)


def _jar(name: str, scale: float) -> str:
    """An open tube with a bottom; origin on the table."""
    radius, half, wall = _RADIUS * scale, _JAR_HALF_HEIGHT * scale, _WALL * scale
    gray = (0.5, 0.5, 0.5)
    return body(
        name,
        ring_of_boxes(radius, half, wall, gray, height=half),
        cylinder(radius, 0.003, gray, pos=(0, 0, 0.003)),
        pos=(0, 0, TABLE_HEIGHT),
    )


def _lid(scale: float) -> str:
    """A disc with a knob; origin in the middle of the disc."""
    disc, half = _LID_RADIUS * scale, _LID_HALF_HEIGHT * scale
    knob, knob_half = _KNOB_RADIUS * scale, _KNOB_HALF_HEIGHT * scale
    options = {"density": 500, "friction": (0.8, 0.02, 0.002)}
    return free_body(
        "lid",
        cylinder(disc, half, LID_COLOR, **options),
        cylinder(knob, knob_half, KNOB_COLOR, pos=(0, 0, half + knob_half), **options),
        box(np.array(_MARK_HALF) * scale, MARK_COLOR, pos=(0, 0, half), class_="visual"),
        pos=(0, 0, TABLE_HEIGHT + half),
    )
