"""RLBench: lay the wine bottle into the named place of the rack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.mjcf import box, cylinder, shape
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Waypoint

PLACES = ("middle", "left", "right")
FOIL, GLASS, LABEL = (0.414, 0.23, 0.108), (0.004, 0.036, 0.002), (0.64, 0.64, 0.64)
WOOD = (0.992, 0.928, 0.736)
# Of a rack, in the frame of what is seen of it: x up, y from its front to its back. Metres.
_POSTS = [(x, y) for x in (-0.123, 0.123) for y in (-0.166, 0.166)]
_BOARDS = (  # half extents and centre
    ((0.025, 0.121, 0.005), (0, 0, 0.157)),
    ((0.025, 0.121, 0.005), (0, 0, -0.156)),
    ((0.025, 0.005, 0.161), (0, 0.109, 0)),
    ((0.006, 0.005, 0.161), (-0.022, -0.073, 0)),
)
_RODS = (0.150, 0.090, 0.030, -0.028, -0.087, -0.148)


class PlaceWineAtRackLocation(PublishedTask):
    """Variation v asks for place v: middle, left or right."""

    variations = len(PLACES)
    graspable = ("wine_bottle",)
    manipulated = ("wine_bottle_visual",)
    receivers = ("rack_bottom_visual", "rack_top_visual")
    resized = ("wine_bottle",)
    resized_receivers = ("rack_bottom", "rack_top")
    object_sizes = (0.85, 1.15)
    receiver_sizes = (0.85, 1.15)

    def looks(self) -> Mapping[str, Look]:
        """What is seen of the bottle and of the two storeys of the rack."""
        rack = Look(make=_rack)
        bottle = Look(make=_bottle)
        return {
            "wine_bottle_visual": bottle,
            "rack_bottom_visual": rack,
            "rack_top_visual": rack,
        }

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The script ends at the asked place."""
        self.place = PLACES[variation]
        self._goal = {"middle": (3, 4), "left": (5, 6), "right": (7, 8)}[self.place]
        return [
            f"stack the wine bottle to the {self.place} of the rack",
            f"put the bottle of wine into the {self.place} compartment of the rack",
            f"take the wine bottle and lay it into the {self.place} of the wine rack",
            f"the wine belongs into the {self.place} part of the rack",
            f"lay the bottle down in the rack, in its {self.place}",
        ]

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Before the neck, around it, up, before the place, in it."""
        yield from self.follow(scene, (f"waypoint{number}" for number in (0, 1, 2, *self._goal)))

    def success(self, scene: Scene) -> bool:
        """Some part of the bottle is in the asked place, released."""
        return scene.detects(f"success_{self.place}", "wine_bottle") and scene.holds_nothing


def _bottle(scale: float) -> str:
    """Its neck points along +z."""
    seen = {"class_": "visual"}
    radius, neck, foil = scale * np.array([0.0297, 0.0094, 0.00975])
    return (
        cylinder(radius, 0.072 * scale, GLASS, pos=(0, 0, -0.0525 * scale), **seen)
        + shape("ellipsoid", (radius, radius, radius), GLASS, pos=(0, 0, 0.0195 * scale), **seen)
        + cylinder(neck, 0.038 * scale, GLASS, pos=(0, 0, 0.078 * scale), **seen)
        + cylinder(foil, 0.0154 * scale, FOIL, pos=(0, 0, 0.1091 * scale), **seen)
        + cylinder(radius + 0.0002, 0.0447 * scale, LABEL, pos=(0, 0, -0.0349 * scale), **seen)
    )


def _rack(scale: float) -> str:
    """One storey: rods from front to back, boards around them, a post at every corner."""
    seen = {"class_": "visual"}
    boards = [
        box(scale * np.array(half), WOOD, pos=scale * np.array(center), **seen)
        for half, center in _BOARDS
    ]
    posts = [
        box(scale * np.array((0.0383, 0.0038, 0.0038)), WOOD, pos=(0, y * scale, z * scale), **seen)
        for y, z in _POSTS
    ]
    rods = [
        cylinder(
            0.0064 * scale,
            0.0901 * scale,
            WOOD,
            pos=(0, 0.014 * scale, z * scale),
            euler=(np.pi / 2, 0, 0),
            **seen,
        )
        for z in _RODS
    ]
    return "".join(boards + posts + rods)
