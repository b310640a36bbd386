"""RLBench's light_bulb_in: screw the bulb from the holder of the asked colour into the lamp.

There is no screw thread: the bulb is lowered into the socket, turned there by a quarter and let go.
A bulb that stands in the socket counts as screwed in, as in RLBench.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, body, cylinder, free_body, grasp_weld, shape
from sam2act.envs.embedded.kit.parts import COLORS, METAL, ring_of_boxes
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

BULBS, HOLDERS = ("bulb0", "bulb1"), ("holder0", "holder1")
GLASS_COLOR, THREAD_COLOR = (0.96, 0.94, 0.84), (0.45, 0.45, 0.48)
LAMP_COLOR, SOCKET_COLOR = (0.35, 0.24, 0.16), (0.80, 0.70, 0.40)

# Sizes in metres at size 1. A bulb's origin is the middle of its glass.
_GLASS_RADIUS, _BASE_RADIUS, _BOTTOM = 0.028, 0.013, 0.056  # the base ends so far below the middle
_BASE_HALF_HEIGHT = 0.017
_TUBE_HALF_HEIGHT, _TUBE_WALL = 0.013, 0.003
_HOLDER_RADIUS, _HOLDER_FLOOR = 0.0215, 0.006  # of the middle of the wall; height of the floor
_SOCKET_RADIUS, _SOCKET_FLOOR = 0.0235, 0.05
_STAND_RADIUS, _STAND_HALF_HEIGHT = 0.060, 0.008

_AREA = Area((0.27, 0.0), (0.16, 0.28))
_HOLDER_APART, _LAMP_APART = 0.07, 0.09
_TURN = np.pi / 2  # radians, from half of it on one side to the other
_HOVER, _LIFT, _ABOVE_SOCKET = 0.09, 0.12, 0.09  # metres above the grasp, the place in the socket
_GAP = 0.003  # metres above the socket's floor at the release
_ZONE_HALF = (0.014, 0.014, 0.010)


class LightBulbIn(Task):
    """Variation v: the holder of colour v."""

    variations = len(COLORS)
    graspable = BULBS
    manipulated = BULBS
    receivers = ("lamp",)
    told_by_looks = (*BULBS, *HOLDERS)  # a "red light bulb" is one in a red holder
    object_sizes = (0.85, 1.15)
    receiver_sizes = (0.95, 1.2)

    def fragment(self) -> Fragment:
        """A lamp, two holders and their bulbs."""
        lamp = _lamp(self.options.receiver_scale)
        holders = "".join(_holder(name) for name in HOLDERS)
        bulbs = "".join(_bulb(name, self.options.object_scale) for name in BULBS)
        return Fragment(lamp + holders + bulbs, "".join(grasp_weld(name) for name in BULBS))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Lamp and holders stand at random places; the other holder has any other colour."""
        names = list(COLORS)
        color = names[variation]
        other = scene.random.choice([name for name in names if name != color])
        scene.spawn("lamp", _AREA, radius=_LAMP_APART)
        for bulb, holder, paint in zip(BULBS, HOLDERS, (color, other), strict=True):
            spot = scene.spawn(holder, _AREA, radius=_HOLDER_APART)
            scene.set_color(holder, COLORS[paint])
            scene.place(bulb, spot + (0, 0, _HOLDER_FLOOR + self._bottom))
        return [
            f"screw in the {color} light bulb",
            f"put the light bulb from the {color} holder into the lamp",
            f"take the bulb out of the {color} stand and screw it into the lamp socket",
        ]

    @property
    def _bottom(self) -> float:
        """Metres from the middle of a bulb down to its end."""
        return _BOTTOM * self.options.object_scale

    def _bulb_in_socket(self) -> tuple[float, float, float]:
        """Where a bulb's origin belongs in the frame of the lamp, metres."""
        return (0, 0, _SOCKET_FLOOR * self.options.receiver_scale + self._bottom)

    def success(self, scene: Scene) -> bool:
        """The right bulb stands in the socket, and nothing is grasped."""
        in_socket = scene.is_inside(BULBS[0], Zone(self._bulb_in_socket(), _ZONE_HALF, "lamp"))
        return in_socket and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Seven keyframes; the last but one turns the bulb and lets it go."""
        grasp = scene.position(BULBS[0])
        placed = scene.to_world("lamp", self._bulb_in_socket()) + (0, 0, _GAP)
        before, after = (down(sign * _TURN / 2) for sign in (-1, 1))
        yield go(grasp + (0, 0, _HOVER), before, collide=False)
        yield go(grasp, before, grip=True)
        yield go(grasp + (0, 0, _LIFT), before, grip=True)
        yield go(placed + (0, 0, _ABOVE_SOCKET), before, grip=True)
        yield go(placed, before, grip=True)
        yield go(placed, after)
        yield go(placed + (0, 0, _ABOVE_SOCKET), after)


def _lamp(scale: float) -> str:
    """A round stand with a socket on top; origin on the table."""
    floor, half = _SOCKET_FLOOR * scale, _TUBE_HALF_HEIGHT * scale
    radius, wall = _SOCKET_RADIUS * scale, _TUBE_WALL * scale
    stand = _STAND_HALF_HEIGHT * scale
    return body(
        "lamp",
        cylinder(_STAND_RADIUS * scale, stand, LAMP_COLOR, pos=(0, 0, stand)),
        cylinder(radius, floor / 2, LAMP_COLOR, pos=(0, 0, floor / 2)),
        ring_of_boxes(radius, half, wall, SOCKET_COLOR, height=floor + half),
        pos=(0, 0, TABLE_HEIGHT),
    )


def _holder(name: str) -> str:
    """A short tube with a floor; origin on the table."""
    gray, floor = (0.5, 0.5, 0.5), _HOLDER_FLOOR / 2
    height = _TUBE_HALF_HEIGHT + floor
    return body(
        name,
        ring_of_boxes(_HOLDER_RADIUS, height, _TUBE_WALL, gray, height=height),
        cylinder(_HOLDER_RADIUS + 0.012, floor, gray, pos=(0, 0, floor)),
        pos=(0, 0, TABLE_HEIGHT),
    )


def _bulb(name: str, scale: float) -> str:
    """A glass ball on a threaded base; origin in the middle of the glass."""
    glass, base = _GLASS_RADIUS * scale, _BASE_RADIUS * scale
    half, bottom = _BASE_HALF_HEIGHT * scale, _BOTTOM * scale
    options = {"density": 300, "friction": (1, 0.02, 0.002)}
    neck = (0.7 * glass, 0.2 * glass)
    threads = [
        cylinder(1.05 * base, 0.05 * half, THREAD_COLOR, pos=(0, 0, z), class_="visual")
        for z in np.linspace(0.3, 1.5, 4) * half - bottom
    ]
    return free_body(
        name,
        shape("sphere", glass, GLASS_COLOR, **options),
        cylinder(*neck, GLASS_COLOR, pos=(0, 0, -0.8 * glass), class_="visual"),
        cylinder(base, half, METAL, pos=(0, 0, half - bottom), **options),
        *threads,
        pos=(0, 0, TABLE_HEIGHT + bottom),
    )
