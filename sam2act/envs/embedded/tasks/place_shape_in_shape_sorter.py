"""RLBench: put the named one of five shapes through its hole in the shape sorter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Fragment, grasp_weld
from sam2act.envs.embedded.kit.scene import Area, Scene, Zone
from sam2act.envs.embedded.kit.shape_sorter_parts import (
    GRIPS,
    HALF_HEIGHT,
    HOLE,
    SHAPES,
    TOP,
    holes,
    shape,
    sorter,
)
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

# All in metres.
_INSIDE = 0.045  # height in the sorter below which the origin of a shape inside lies
_GRASP, _LEAST_GRASP = 0.026, 0.022  # of the fingertips above the table, at scale 1 and any scale
_HOVER, _LIFT, _RELEASE = 0.12, 0.17, 0.008  # above the table, above the table, above the sorter
_SORTER_AREA, _SORTER_YAW = Area((0.27, -0.21), (0.03, 0.02)), (-0.15, 0.15)
_SHAPE_AREA, _SHAPE_YAW = Area((0.26, 0.19), (0.19, 0.16)), (-np.pi / 5, np.pi / 5)
_RADIUS = 0.056


class PlaceShapeInShapeSorter(Task):
    """Variation v asks for shape v of `SHAPES`."""

    variations = len(SHAPES)
    graspable = tuple(SHAPES)
    manipulated = tuple(SHAPES)
    lookalikes = ("box", "cylinder")
    receivers = ("sorter",)  # the coloured outlines of the holes stay
    object_sizes = (0.75, 1.1)
    receiver_sizes = (0.95, 1.15)

    def fragment(self) -> Fragment:
        """Five shapes, and a sorter with five holes."""
        shapes = "".join(shape(name, self.options.object_scale) for name in SHAPES)
        welds = "".join(map(grasp_weld, SHAPES))
        return Fragment(sorter(self.options.receiver_scale) + shapes, welds)

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The sorter stands to the right, the shapes are scattered to the left of it."""
        self.shape = tuple(SHAPES)[variation]
        scene.spawn("sorter", _SORTER_AREA, radius=0.0, yaw=_SORTER_YAW)
        height = TABLE_HEIGHT + HALF_HEIGHT * self.options.object_scale
        for name in SHAPES:
            scene.spawn(name, _SHAPE_AREA, height=height, radius=_RADIUS, yaw=_SHAPE_YAW)
        called = SHAPES[self.shape]
        return [
            f"put the {called} in the shape sorter",
            f"drop the {called} through its hole in the sorter",
            f"pick up the {called} and fit it into the matching hole of the shape sorter",
            f"sort the {called} into the box with the holes",
        ]

    @property
    def _hole(self) -> np.ndarray:
        """(2,) metres: the hole of the asked shape in the sorter's frame."""
        return self.options.receiver_scale * np.array(holes()[self.shape])

    def success(self, scene: Scene) -> bool:
        """The right shape lies in the sorter below its own hole, and the hand is empty."""
        half = HOLE * self.options.receiver_scale
        zone = Zone((*self._hole, _INSIDE / 2), (half, half, _INSIDE / 2), "sorter")
        return scene.is_inside(self.shape, zone) and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes: over the shape, the shape, up, over the hole, into it."""
        scale = self.options.object_scale
        grip = scale * np.array([*GRIPS.get(self.shape, (0.0, 0.0)), 0.0])
        spot = scene.to_world(self.shape, grip)[:2]
        goal = scene.to_world("sorter", grip + (*self._hole, 0.0))[:2]
        pick, put = down(scene.yaw(self.shape)), down(scene.yaw("sorter"))
        low = TABLE_HEIGHT + max(_GRASP * scale, _LEAST_GRASP)
        high = TABLE_HEIGHT + _LIFT
        yield go((*spot, TABLE_HEIGHT + _HOVER), pick, collide=False)
        yield go((*spot, low), pick, grip=True)
        yield go((*spot, high), pick, grip=True)
        yield go((*goal, high), put, grip=True)
        yield go((*goal, TABLE_HEIGHT + TOP + _RELEASE), put)
