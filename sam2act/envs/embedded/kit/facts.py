"""Facts of a published scene: its objects with their places, sizes, joints, sensors and marks.

One JSON file per task in `facts/`. Metres, radians, kilograms; poses are x, y, z and a quaternion
xyzw, each in the frame of the parent (`in_parent`), with joints at 0.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

Yaw = tuple[float, float]
FREE_YAW: Yaw = (-3.14, 3.14)  # radians, the published default


@dataclass(frozen=True)
class Solid:
    """A primitive of a shape.

    Attributes:
        kind: plane, cuboid, cylinder, sphere, or mesh, of which only the box around it is known.
        size: (3,) full extents along the axes of its frame; a cylinder stands along z.
        pose: (4, 4) in the frame of the shape.
        color: red, green, blue in [0, 1]; None = that of the shape.
    """

    kind: str
    size: tuple[float, float, float]
    pose: np.ndarray
    color: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class ShapeFacts:
    """What is seen and touched of an object.

    Attributes:
        size: (3,) full extents of the box around it, along the axes of its frame.
        solids: what it consists of.
        mass: kilograms.
        is_dynamic: whether it moves freely, or along the joint above it.
        is_solid: whether things bounce off it ("respondable").
        is_seen: whether cameras see it.
        is_obstacle: whether planned motions avoid it ("collidable").
        color: red, green, blue in [0, 1]; of several the first.
    """

    size: tuple[float, float, float]
    solids: tuple[Solid, ...]
    mass: float
    is_dynamic: bool
    is_solid: bool
    is_seen: bool
    is_obstacle: bool
    color: tuple[float, float, float]


@dataclass(frozen=True)
class JointFacts:
    """A joint along or about the z axis of its frame.

    Attributes:
        slides: whether it is a slide (metres), else a hinge (radians).
        position: at loading.
        limits: least and largest position; None = it turns all round.
        spring: stiffness in N/m and damping in N s/m, or None.
        target: position that the spring wants.
    """

    slides: bool
    position: float
    limits: tuple[float, float] | None
    spring: tuple[float, float] | None
    target: float


@dataclass(frozen=True)
class Volume:
    """What a proximity sensor sees: a box or an upright cylinder in its frame.

    Attributes:
        kind: box or cylinder.
        size: (3,) full extents in metres.
        center: (3,) metres.
    """

    kind: str
    size: tuple[float, float, float]
    center: tuple[float, float, float]


@dataclass(frozen=True)
class Marks:
    """What the script does at a waypoint.

    Attributes:
        opening: 0 to 1, where the fingers go after the motion; None = they stay.
        ignore_collisions: whether the way there may touch things.
        linear: whether the way must be straight.
    """

    opening: float | None = None
    ignore_collisions: bool = False
    linear: bool = False


@dataclass(frozen=True)
class ObjectFacts:
    """One object; what it is besides a frame stands in the field that is not None.

    Attributes:
        parent: name of the object in whose frame `in_parent` stands; None = the world.
        in_parent: (4, 4).
    """

    name: str
    parent: str | None
    in_parent: np.ndarray
    shape: ShapeFacts | None = None
    joint: JointFacts | None = None
    volume: Volume | None = None
    marks: Marks = Marks()


@dataclass(frozen=True)
class SceneFacts:
    """A published scene.

    Attributes:
        root: name of the base frame.
        objects: by name, parents before children.
        static: whether the base never moves.
        base_yaw: bounds of the turn of the base, radians.
        waypoints: number of waypoints of the script.
    """

    root: str
    objects: Mapping[str, ObjectFacts]
    static: bool
    base_yaw: Yaw
    waypoints: int

    def shape(self, name: str) -> ShapeFacts:
        """What is seen and touched of `name`, which is a shape."""
        shape = self.objects[name].shape
        assert shape is not None, f"{name} is no shape"
        return shape

    def children(self, name: str) -> list[ObjectFacts]:
        """The objects in whose frame's parent is `name`, in order."""
        return [item for item in self.objects.values() if item.parent == name]

    def by_level(self) -> list[str]:
        """All names, breadth first, as RLBench lists them."""
        level, found = [self.root], []
        while level:
            found += level
            level = [child.name for name in level for child in self.children(name)]
        return found

    def subtree(self, name: str) -> list[str]:
        """`name` and everything below it, depth first."""
        found = [name]
        for child in self.children(name):
            found += self.subtree(child.name)
        return found


def pose_matrix(pose: Sequence[float]) -> np.ndarray:
    """(4, 4) of x, y, z, qx, qy, qz, qw."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(pose[3:7]).as_matrix()
    matrix[:3, 3] = pose[:3]
    return matrix


@functools.cache
def scene_facts(task: str) -> SceneFacts:
    """The facts of `task` that come with this package."""
    text = resources.files(f"{__package__.rpartition('.')[0]}.facts").joinpath(f"{task}.json")
    return parse_facts(json.loads(text.read_text(encoding="utf-8")))


def read_facts(path: Path) -> SceneFacts:
    """The facts in a JSON file of the same form."""
    return parse_facts(json.loads(path.read_text(encoding="utf-8")))


def parse_facts(document: Mapping[str, Any]) -> SceneFacts:
    """`document`, one JSON file, as objects."""
    objects = {entry["name"]: _object(entry) for entry in document["objects"]}
    root = next(item for item in objects.values() if item.parent is None)
    ordered: dict[str, ObjectFacts] = {}
    _add(root, objects, ordered)
    sampling = document["base_sampling"]
    static = bool(sampling.get("static", False))
    yaw = (0.0, 0.0) if static else tuple(sampling["asked_yaw"])
    return SceneFacts(root.name, ordered, static, yaw, len(document["waypoints"]))


def _add(
    item: ObjectFacts, objects: Mapping[str, ObjectFacts], ordered: dict[str, ObjectFacts]
) -> None:
    ordered[item.name] = item
    for child in objects.values():
        if child.parent == item.name:
            _add(child, objects, ordered)


def _object(entry: Mapping[str, Any]) -> ObjectFacts:
    kind = entry["kind"]
    return ObjectFacts(
        name=entry["name"],
        parent=entry["parent"],
        in_parent=pose_matrix(entry["in_parent"]),
        shape=_shape(entry) if kind == "shape" else None,
        joint=_joint(entry["joint"]) if kind == "joint" else None,
        volume=_volume(entry["volume"]) if kind == "proximity_sensor" else None,
        marks=_marks(entry.get("extension", {})),
    )


def _shape(entry: Mapping[str, Any]) -> ShapeFacts:
    size = tuple(entry["size"])
    solids = tuple(_solid(part) for part in entry.get("parts", ()))
    if not solids:
        solids = (Solid(entry.get("primitive", "mesh"), size, np.eye(4)),)
    flags, color = entry["flags"], entry["rgb"]
    return ShapeFacts(
        size=size,
        solids=solids,
        mass=entry["mass"],
        is_dynamic=entry["dynamic"],
        is_solid=entry["respondable"],
        is_seen="renderable" in flags and not entry.get("wireframe", False),
        is_obstacle="collidable" in flags,
        color=tuple(color[0] if isinstance(color[0], list) else color),
    )


def _solid(part: Mapping[str, Any]) -> Solid:
    if "pose" in part:
        pose = pose_matrix(part["pose"])
    else:
        pose = pose_matrix([*part["center"], 0, 0, 0, 1])
    color = tuple(part["rgb"]) if "rgb" in part else None
    return Solid(part["kind"], tuple(part["size"]), pose, color)


def _joint(entry: Mapping[str, Any]) -> JointFacts:
    spring = (entry["spring_k"], entry["damping"]) if entry["spring_damper"] else None
    return JointFacts(
        slides=entry["kind"] == "prismatic",
        position=entry["position"],
        limits=tuple(entry["limits"]) if "limits" in entry else None,
        spring=spring,
        target=entry.get("target", 0.0),
    )


def _volume(entry: Mapping[str, Any]) -> Volume:
    low, high = entry["z_from"], entry["z_to"]
    if entry["kind"] == "cylinder":
        sides = (2 * entry["radius"],) * 2
        kind = "cylinder"
    else:
        sides, kind = tuple(entry["xy_near"]), "box"
    return Volume(kind, (*sides, high - low), (0.0, 0.0, (low + high) / 2))


def _marks(entry: Mapping[str, Any]) -> Marks:
    """`gripper` is open, close, or close and how far open the fingers stay."""
    word, _, amount = entry.get("gripper", "").partition(" ")
    opening = {"open": 1.0, "close": float(amount or 0)}.get(word)
    return Marks(opening, entry.get("ignore_collisions", False), entry.get("linear", False))
