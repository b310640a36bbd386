"""The paper's real-robot task: turn on a table lamp by the button on its foot; our scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.buttons import DARK, is_pressed, push_cap, sinks_into
from sam2act.envs.embedded.kit.mjcf import (
    Color,
    Fragment,
    body,
    box,
    capsule,
    cylinder,
    element,
    shape,
)
from sam2act.envs.embedded.kit.parts import METAL
from sam2act.envs.embedded.kit.prisms import regular
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

SWITCH, SHADE, BULB = "switch", "lamp_shade", "lamp_bulb"
SHADES = ((0.18, 0.42, 0.45), (0.62, 0.27, 0.19), (0.24, 0.28, 0.42), (0.36, 0.40, 0.27))
SWITCH_COLOR, BULB_COLOR = (0.85, 0.15, 0.12), (0.70, 0.70, 0.72)
LIT_SHADE, LIT_BULB = (1.0, 0.88, 0.45), (1.0, 1.0, 0.80)

# The lamp's frame: origin on the table, the switch towards -x, the stem towards +x. Metres.
_FOOT_HALF = (0.075, 0.055, 0.011)
_SWITCH_X, _STEM_X = -0.075, 0.075
_CAP_RADIUS, _CAP_HEIGHT = 0.024, 0.016
_STEM_HEIGHT, _SHADE_HEIGHT, _SHADE_RADII = 0.27, 0.11, (0.085, 0.05)  # lower, upper
_SHADE_CORNERS = 24
_DEPTH = 0.008  # of the fingertips below the top of the switch
_HOVER = 0.10  # metres above it
_AREA, _YAW = Area((0.30, 0.0), (0.09, 0.20)), 0.6  # radians, either way; 0 = away from the robot


class TurnOnLamp(Task):
    """One variation. The colour of the shade is anything."""

    variations = 1
    scene_known = False
    manipulated = ("lamp", SHADE)
    object_sizes = (0.8, 1.2)

    def fragment(self) -> Fragment:
        """A lamp with a foot, a stem, a bulb and a shade."""
        scale = self.options.object_scale
        lamp = body(
            "lamp",
            *_foot_and_stem(scale),
            push_cap(
                SWITCH,
                scale * _CAP_RADIUS,
                scale * _CAP_HEIGHT,
                SWITCH_COLOR,
                (scale * _SWITCH_X, 0, scale * 2 * _FOOT_HALF[2]),
            ),
            _head(scale),
            pos=(0, 0, TABLE_HEIGHT),
        )
        return Fragment(lamp, exclusions=sinks_into("lamp", SWITCH), assets=_shade_mesh(scale))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The lamp stands anywhere, its switch more or less towards the robot."""
        self._is_on = False
        scene.spawn("lamp", _AREA, yaw=(-_YAW, _YAW))
        scene.set_color(SHADE, SHADES[scene.random.integers(len(SHADES))])
        scene.set_color(BULB, BULB_COLOR)
        return [
            "turn on the lamp",
            "press the button on the foot of the lamp",
            "switch the lamp on",
        ]

    def step(self, scene: Scene) -> None:
        """The light goes on when the switch is pressed, and stays on."""
        if not self._is_on and is_pressed(scene, SWITCH):
            self._is_on = True
            scene.set_color(SHADE, LIT_SHADE)
            scene.set_color(BULB, LIT_BULB)

    def success(self, scene: Scene) -> bool:
        """The lamp shines."""
        return self._is_on

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Two keyframes: above the switch, and down."""
        top = scene.position(f"{SWITCH}_cap")
        top[2] += self.options.object_scale * _CAP_HEIGHT
        turn = down(scene.yaw("lamp"))
        yield go(top + (0, 0, _HOVER), turn, grip=True, collide=False)
        yield go(top - (0, 0, _DEPTH), turn, grip=True)


def _foot_and_stem(scale: float) -> list[str]:
    """A foot with round ends, and an upright stem."""
    half = scale * np.array(_FOOT_HALF)
    ends = [
        cylinder(half[1], half[2], DARK, pos=(scale * x, 0, half[2])) for x in (_SWITCH_X, _STEM_X)
    ]
    bottom, top = (scale * np.array((_STEM_X, 0, z)) for z in (0.02, _STEM_HEIGHT))
    return [
        box(half, DARK, pos=(0, 0, half[2])),
        *ends,
        capsule(bottom, top, scale * 0.009, METAL),
    ]


def _head(scale: float) -> str:
    """The bulb below the shade."""
    bulb = shape("sphere", scale * 0.030, BULB_COLOR, pos=(0, 0, scale * 0.002), class_="visual")
    return body(
        SHADE,
        _shade(SHADES[0]),
        body(BULB, bulb),
        pos=scale * np.array((_STEM_X, 0, _STEM_HEIGHT)),
    )


def _shade(color: Color) -> str:
    return element("geom", type="mesh", mesh=SHADE, rgba=[*color, 1.0], class_="object")


def _shade_mesh(scale: float) -> str:
    """A frustum around the origin of the shade, its lower end there."""
    rings = [
        np.column_stack([regular(_SHADE_CORNERS, radius), np.full(_SHADE_CORNERS, z)])
        for radius, z in zip(_SHADE_RADII, (0, _SHADE_HEIGHT), strict=True)
    ]
    return element("mesh", name=SHADE, vertex=scale * np.concatenate(rings).ravel())
