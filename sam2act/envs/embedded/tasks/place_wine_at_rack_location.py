"""RLBench: put the wine bottle into the named compartment of the rack."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import (
    Fragment,
    body,
    box,
    cylinder,
    free_body,
    grasp_weld,
    shape,
)
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

LOCATIONS = ("left", "middle", "right")
GLASS, LABEL, FOIL, WOOD = (
    (0.10, 0.30, 0.15),
    (0.93, 0.90, 0.80),
    (0.55, 0.08, 0.14),
    (0.55, 0.36, 0.20),
)
# All in metres.
_RADIUS, _SHOULDER, _NECK_RADIUS, _TOP = 0.030, 0.11, 0.012, 0.21
_GRASP = 0.178  # of the fingertips above the bottle's bottom
_SLOT_HALF, _WALL, _WALL_HEIGHT, _FLOOR = 0.045, 0.005, 0.07, 0.006  # half width, half thickness
_HOVER, _LIFT, _DROP = 0.10, 0.17, 0.004
_RACK_AREA = Area((0.37, 0.0), (0.04, 0.08))
_BOTTLE_AREA = Area((0.16, 0.0), (0.05, 0.26))
_RACK_YAW = (-np.pi / 8, np.pi / 8)


class PlaceWineAtRackLocation(Task):
    """Variation v asks for compartment v: left, middle or right as the robot sees them."""

    variations = len(LOCATIONS)
    graspable = ("bottle",)
    manipulated = ("bottle",)
    receivers = ("rack",)
    object_sizes = (0.75, 1.15)
    receiver_sizes = (0.9, 1.25)

    @property
    def _pitch(self) -> float:
        """Metres between the middles of two compartments."""
        return 2 * (_SLOT_HALF * self.options.receiver_scale + _WALL)

    def fragment(self) -> Fragment:
        """A bottle and a rack."""
        return Fragment(self._bottle() + self._rack(), grasp_weld("bottle"))

    def _bottle(self) -> str:
        """The origin lies at the middle of the bottom."""
        scale = self.options.object_scale
        radius, shoulder, neck, top = (
            scale * size for size in (_RADIUS, _SHOULDER, _NECK_RADIUS, _TOP)
        )
        neck_half = (top - shoulder) / 2
        cap_half = 0.12 * neck_half
        return free_body(
            "bottle",
            cylinder(radius, shoulder / 2, GLASS, pos=(0, 0, shoulder / 2), density=600),
            shape("ellipsoid", (radius, radius, radius), GLASS, pos=(0, 0, shoulder), density=300),
            cylinder(neck, neck_half, GLASS, pos=(0, 0, shoulder + neck_half), density=300),
            cylinder(
                radius + 0.0008, 0.32 * shoulder, LABEL, pos=(0, 0, shoulder / 2), class_="visual"
            ),
            cylinder(neck + 0.001, cap_half, FOIL, pos=(0, 0, top - cap_half), class_="visual"),
            pos=(0.15, 0, TABLE_HEIGHT),
        )

    def _rack(self) -> str:
        """Three compartments in a row along y; the origin lies under the middle one."""
        half = _SLOT_HALF * self.options.receiver_scale
        length, height = 1.5 * self._pitch + _WALL, _WALL_HEIGHT / 2
        dividers = [
            box((half, _WALL, height), WOOD, pos=(0, (number - 1.5) * self._pitch, height))
            for number in range(4)
        ]
        sides = [
            box((_WALL, length, height), WOOD, pos=(side * (half + _WALL), 0, height))
            for side in (-1, 1)
        ]
        floor = box((half, length, _FLOOR / 2), WOOD, pos=(0, 0, _FLOOR / 2))
        return body("rack", floor, *dividers, *sides, pos=(0.37, 0, TABLE_HEIGHT))

    def _slot(self, number: int) -> tuple[float, float, float]:
        """Middle of a compartment's floor in the rack's frame."""
        return (0.0, (1 - number) * self._pitch, _FLOOR)

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The rack stands farther away than the bottle, turned a little."""
        self._wanted = self._slot(variation)
        scene.spawn("rack", _RACK_AREA, radius=0.0, yaw=_RACK_YAW)
        for number in range(len(LOCATIONS)):
            spot = scene.to_world("rack", self._slot(number))[:2]
            scene.occupy(spot, 0.07 * self.options.receiver_scale)
        scene.spawn("bottle", _BOTTLE_AREA, radius=0.05, yaw=(-np.pi, np.pi))
        location = LOCATIONS[variation]
        return [
            f"stack the wine bottle to the {location} of the rack",
            f"put the bottle of wine into the {location} compartment of the rack",
            f"take the wine bottle and stand it in the {location} slot of the wine rack",
            f"the wine belongs into the {location} part of the rack",
        ]

    def success(self, scene: Scene) -> bool:
        """The bottle's bottom is in the right compartment, and the hand is empty."""
        x, y, z = self._wanted
        half = _SLOT_HALF * self.options.receiver_scale
        zone = Zone((x, y, z + 0.01), (half, half, 0.02), "rack")
        return scene.is_inside("bottle", zone) and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes: over the bottle, its neck, up, over the compartment, down."""
        height = _GRASP * self.options.object_scale
        neck = scene.position("bottle") + (0, 0, height)
        goal = scene.to_world("rack", self._wanted) + (0, 0, height)
        yield go(neck + (0, 0, _HOVER), down(), collide=False)
        yield go(neck, down(), grip=True)
        yield go(neck + (0, 0, _LIFT), down(), grip=True)
        yield go(goal + (0, 0, _LIFT), down(), grip=True)
        yield go(goal + (0, 0, _DROP), down())
