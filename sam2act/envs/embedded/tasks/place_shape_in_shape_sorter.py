"""RLBench: put the named shape into the shape sorter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from sam2act.envs.embedded.kit.assembly import Look
from sam2act.envs.embedded.kit.facts import SceneFacts
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.placing import Boundary, require_room
from sam2act.envs.embedded.kit.prisms import Outline, Prisms, inside, outside, regular, star
from sam2act.envs.embedded.kit.published import PublishedTask
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Waypoint

# In the order of the variations: bodies, and what instructions call them.
SHAPES = {
    "cube": "cube",
    "cylinder": "cylinder",
    "triangular_prism": "triangular prism",
    "star": "star",
    "moon": "moon",
}
PRISM, STAR, MOON, LID = "triangular_prism", "star_visual", "moon_visual", "shape_sorter_visual"
LEAST_DISTANCE = 0.05  # metres between the origins of shapes

# All in metres, in the upright frame of the shape.
_PRISM_CENTER = (0, -0.00658)
_STAR_CENTER, _STAR_HOLE_CENTER = (0, -0.0027), (-0.0057, 0.0048)
_MOON_CENTER, _MOON_HOLE_SHIFT = (0, -0.0127), (-0.0015, -0.003)
_BITE_CENTER = (0, -0.0396)
_X_IS_UP = (0.5**0.5, 0, 0.5**0.5, 0)  # quaternion wxyz of an upright frame in one with x upwards


class PlaceShapeInShapeSorter(PublishedTask):
    """Variation v asks for shape v of `SHAPES`.

    Quirks: any hole counts, and nothing needs to be released; star and moon are twice as large as
    what is touched of them.
    """

    variations = len(SHAPES)
    graspable = resized = tuple(SHAPES)
    manipulated = (*SHAPES, STAR, MOON)
    lookalikes = ("box", "cylinder")
    receivers = ("shape_sorter", LID)
    resized_receivers = ("shape_sorter",)
    object_sizes = (0.9, 1.05)
    receiver_sizes = (1.0, 1.1)

    deviations: ClassVar[Mapping[str, str]] = {
        "spawned": "Star and moon are seen beside what is touched of them, so that a turn for "
        "which their box fits may stick out of the plane; the cylinder starts upright on the "
        "table, onto which the published one falls; places at which the open hand would land on a "
        "neighbour are drawn again, as published demonstrations are tried again."
    }

    def looks(self) -> Mapping[str, Look]:
        """A prism, a star, a crescent, and a lid with five holes."""
        return {part.name: Look(part.geoms) for part in _parts(self.facts)}

    def fragment(self) -> Fragment:
        """Everything in the facts, and the meshes of what is neither box nor cylinder."""
        meshes = [part.assets(self.assembly.scale(part.name)) for part in _parts(self.facts)]
        return replace(super().fragment(), assets="".join(meshes))

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The shapes lie at random places beside the sorter, turned at random."""
        self.shape, called = list(SHAPES.items())[variation]
        frames = scene.frames
        upright = frames.pose("cylinder")
        upright[:3, :3], upright[2, 3] = np.eye(3), frames.pose("cube")[2, 3]
        frames.move("cylinder", upright)
        boundary = Boundary(frames, ["boundary"], scene.random)
        for name in SHAPES:
            boundary.sample(name, min_distance=LEAST_DISTANCE)
        others = [name for name in SHAPES if name != self.shape]
        require_room(frames, f"{self.shape}_grasp_point", [*others, "shape_sorter"])
        return [
            f"put the {called} in the shape sorter",
            f"drop the {called} through its hole in the sorter",
            f"pick up the {called} and fit it into the matching hole of the shape sorter",
            f"sort the {called} into the box with the holes",
        ]

    def success(self, scene: Scene) -> bool:
        """Some part of the asked shape is in the sorter."""
        return scene.detects("success", self.shape)

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """The published ones, at the asked shape and the hole of that shape."""
        frames = scene.frames
        frames.move("waypoint1", frames.pose(f"{self.shape}_grasp_point"))
        frames.move("waypoint4", frames.pose(f"{self.shape}_drop_point"))
        yield from super().waypoints(scene)


def _parts(facts: SceneFacts) -> list[Prisms]:
    """The shapes whose outlines are made here."""
    color = {name: facts.shape(name).color for name in (PRISM, STAR, MOON, LID)}
    pentagon, arms = star(0.0287, 0.011, _STAR_CENTER)
    moon = outside(
        [regular(32, 0.0302, center=_MOON_CENTER)], regular(48, 0.0371, center=_BITE_CENTER)
    )
    triangle = regular(3, 0.0263, np.pi / 2, _PRISM_CENTER)
    return [
        Prisms(PRISM, [triangle], 0.0196, color[PRISM], mass=facts.shape(PRISM).mass),
        Prisms(STAR, [pentagon, *arms], 0.0173, color[STAR], _X_IS_UP, is_solid=False),
        Prisms(MOON, moon, 0.0194, color[MOON], _X_IS_UP, is_solid=False),
        Prisms(LID, _lid(facts), 0.006, color[LID], _X_IS_UP),
    ]


def _lid(facts: SceneFacts) -> list[Outline]:
    """A plate with holes 2 to 4 mm wider than the shapes, where the script drops them."""

    def at_drop(outline: Outline, shape: str, part: str | None = None) -> Outline:
        return _in_sorter(facts, outline, shape, part or shape)

    pentagon, arms = star(0.036, 0.020, _STAR_HOLE_CENTER)
    hull = np.concatenate([arm[1:2] for arm in arms])
    disc = regular(24, 0.0342, center=np.add(_MOON_CENTER, _MOON_HOLE_SHIFT))
    bite = regular(32, 0.0331, center=np.add(_BITE_CENTER, _MOON_HOLE_SHIFT))
    holes = [
        at_drop(0.034 * regular(4, 1, np.pi / 4), "cube"),
        at_drop(regular(16, 0.0265), "cylinder"),
        at_drop(regular(3, 0.031, np.pi / 2, _PRISM_CENTER), PRISM),
        at_drop(hull, "star", STAR),
        at_drop(disc, "moon", MOON),
    ]
    pieces = [0.1 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])]
    for hole in holes:
        pieces = outside(pieces, hole)
    between = outside([hull], pentagon)
    for arm in arms:
        between = outside(between, arm)
    return (
        pieces
        + [at_drop(piece, "star", STAR) for piece in between]
        + [at_drop(inside(disc, bite), "moon", MOON)]
    )


def _in_sorter(facts: SceneFacts, outline: Outline, shape: str, part: str) -> Outline:
    """An outline in the upright frame of `part`, which is `shape` or hangs on it, seen from above
    in the sorter when the script drops the shape."""
    objects = facts.objects
    pose = objects[f"{shape}_drop_point"].in_parent @ np.linalg.inv(
        objects[f"{shape}_grasp_point"].in_parent
    )
    across = pose[:2, :2]
    if part != shape:
        pose = pose @ objects[part].in_parent
        across = pose[:2, [2, 1]] * (-1, 1)
    return outline @ across.T + pose[:2, 3]
