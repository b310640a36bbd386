"""Compares a compiled scene, as it is loaded, with the facts: model and state, not our reader."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.fidelity.documents import Document, Entry
from sam2act.envs.embedded.fidelity.findings import Finding, compared, unknown
from sam2act.envs.embedded.kit.mjcf import HIDDEN_GROUP, SENSOR_GROUP

DISTANCE, ANGLE = 0.002, np.deg2rad(1.0)  # metres, radians: what counts as equal
COLOR = 0.02  # per channel
MASS = 0.01  # of the published mass
_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


def compare_compiled(runner: EpisodeRunner, document: Document) -> Iterator[Finding]:
    """Findings about every object of the scene that `runner` has built."""
    runner.restore()
    scene = CompiledScene(runner)
    base = np.linalg.inv(scene.pose(document.root))
    for name, expected in document.in_base().items():
        entry = document.entries[name]
        if entry["parent"] is None:
            continue
        if entry["kind"] == "joint":
            yield _compare_axis(scene, entry, base, expected)
        elif not is_waypoint(name):
            yield pose_finding(f"{name}.pose", expected, base @ scene.pose(name))
        if entry["kind"] == "shape":
            yield from _compare_shape(scene, entry)
        elif entry["kind"] == "joint":
            yield from _compare_joint(scene, entry)
        elif entry["kind"] == "proximity_sensor":
            yield _compare_volume(scene, entry)


def is_waypoint(name: str) -> bool:
    """Whether an object is a waypoint of the script; those are compared in episodes."""
    return name.removeprefix("waypoint").isdecimal()


def pose_finding(fact: str, expected: np.ndarray, found: np.ndarray) -> Finding:
    """Whether two poses (4, 4) agree in place and direction."""
    far, turned = pose_difference(expected, found)
    detail = f"{1e3 * far:.1f} mm and {np.rad2deg(turned):.1f} degrees off"
    return compared(fact, far <= DISTANCE and turned <= ANGLE, "pose", detail)


def pose_difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Metres and radians between two poses (4, 4)."""
    turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).magnitude()
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3])), float(turn)


class CompiledScene:
    """What a compiled model says of the objects of a scene."""

    def __init__(self, runner: EpisodeRunner) -> None:
        self.model, self.data = runner.model, runner.data
        self._frames = runner.scene.frames

    def pose(self, name: str) -> np.ndarray:
        """(4, 4) of an object, world frame: of the body, or of the mark on a body."""
        number = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name)
        if number < 0:
            return self._frames.pose(name)
        pose = np.eye(4)
        pose[:3, :3] = self.data.xmat[number].reshape(3, 3)
        pose[:3, 3] = self.data.xpos[number]
        return pose

    def geoms(self, name: str) -> list[int]:
        """Numbers of the geoms of a body, sensors not included."""
        number = self.model.body(name).id
        all_geoms = np.flatnonzero(self.model.geom_bodyid == number)
        return [int(geom) for geom in all_geoms if self.model.geom_group[geom] != SENSOR_GROUP]

    def box(self, name: str) -> np.ndarray:
        """(2, 3) least and greatest coordinates of a body's geoms in its frame, metres."""
        corners = [self.corners(geom) for geom in self.geoms(name)]
        points = np.concatenate(corners)
        return np.stack([points.min(axis=0), points.max(axis=0)])

    def corners(self, geom: int) -> np.ndarray:
        """(N, 3) extreme points of a geom in the frame of its body."""
        turn = _matrix(self.model.geom_quat[geom])
        place, size = self.model.geom_pos[geom], self.model.geom_size[geom]
        kind = self.model.geom_type[geom]
        if kind == mujoco.mjtGeom.mjGEOM_MESH:
            mesh = self.model.mesh(int(self.model.geom_dataid[geom]))
            first = int(mesh.vertadr[0])
            points = self.model.mesh_vert[first : first + int(mesh.vertnum[0])]
            return place + points @ turn.T
        half = _half_extents(kind, size, turn)
        return place + _CORNERS * half

    def is_seen(self, name: str) -> bool:
        """Whether cameras see any part of a body."""
        return any(self.model.geom_group[geom] < HIDDEN_GROUP for geom in self.geoms(name))

    def is_solid(self, name: str) -> bool:
        """Whether things bounce off a body."""
        return any(self.model.geom_conaffinity[geom] != 0 for geom in self.geoms(name))

    def colors(self, name: str) -> np.ndarray:
        """(N, 4) red, green, blue, opacity of the seen geoms of a body."""
        seen = [geom for geom in self.geoms(name) if self.model.geom_group[geom] < HIDDEN_GROUP]
        return self.model.geom_rgba[seen].copy()


def _half_extents(kind: int, size: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(3,) half extents along the axes of the body of a primitive turned by `turn` (3, 3)."""
    shapes = mujoco.mjtGeom
    if kind == shapes.mjGEOM_BOX:
        return np.abs(turn) @ size
    if kind == shapes.mjGEOM_SPHERE:
        return np.full(3, size[0])
    if kind == shapes.mjGEOM_ELLIPSOID:
        return np.sqrt((turn**2) @ size**2)
    along = np.abs(turn[:, 2])
    if kind == shapes.mjGEOM_CAPSULE:
        return size[0] + along * size[1]
    if kind == shapes.mjGEOM_CYLINDER:
        return size[0] * np.sqrt(np.maximum(0, 1 - along**2)) + along * size[1]
    raise AssertionError(f"geoms of type {kind} have no box here")


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    return Rotation.from_quat(np.roll(quaternion, -1)).as_matrix()


# ------------------------------------------------------------------------------- objects
def _compare_shape(scene: CompiledScene, entry: Entry) -> Iterator[Finding]:
    name = entry["name"]
    seen = "renderable" in entry["flags"] and not entry.get("wireframe", False)
    solid = bool(entry["respondable"])
    yield compared(f"{name}.seen", scene.is_seen(name) == seen, seen, scene.is_seen(name))
    yield compared(f"{name}.solid", scene.is_solid(name) == solid, solid, scene.is_solid(name))
    if (seen or solid) and scene.geoms(name):
        yield _compare_size(scene, entry)
    if seen and scene.is_seen(name):
        yield from _compare_colors(scene, entry)
    if solid and entry["dynamic"]:
        mass = float(scene.model.body(name).mass[0])
        near = abs(mass - entry["mass"]) <= MASS * entry["mass"] + 1e-6
        yield compared(f"{name}.mass", near, entry["mass"], mass)
    if solid:
        yield unknown(f"{name}.friction")
    if entry.get("primitive") == "mesh" or _has_meshes(entry):
        yield unknown(f"{name}.surface")


def _has_meshes(entry: Entry) -> bool:
    return any(part["kind"] == "mesh" for part in entry.get("parts", ()))


def _compare_size(scene: CompiledScene, entry: Entry) -> Finding:
    half = np.array(entry["size"]) / 2
    low, high = scene.box(entry["name"])
    near = np.abs(low + half).max() <= DISTANCE and np.abs(high - half).max() <= DISTANCE
    found = ", ".join(f"{a:.4f}..{b:.4f}" for a, b in zip(low, high, strict=True))
    return compared(f"{entry['name']}.size", near, entry["size"], found)


def _compare_colors(scene: CompiledScene, entry: Entry) -> Iterator[Finding]:
    name, rgb = entry["name"], entry["rgb"]
    found = scene.colors(name)
    if entry.get("textured", False):
        yield unknown(f"{name}.texture")
    else:
        published = np.array(rgb if isinstance(rgb[0], list) else [rgb], float)
        apart = np.abs(found[:, None, :3] - published[None]).max(axis=2).min(axis=1)
        yield compared(f"{name}.color", apart.max() <= COLOR, rgb, found[:, :3].tolist())
    if "opacity" in entry:
        opacity = float(found[:, 3].min())
        near = abs(opacity - entry["opacity"]) <= COLOR
        yield compared(f"{name}.opacity", near, entry["opacity"], opacity)


def _compare_axis(
    scene: CompiledScene, entry: Entry, base: np.ndarray, expected: np.ndarray
) -> Finding:
    """The axis of a joint: its direction, and of a hinge its place."""
    fact = f"{entry['name']}.pose"
    number = mujoco.mj_name2id(scene.model, mujoco.mjtObj.mjOBJ_JOINT, entry["name"])
    if number < 0:
        return compared(fact, False, "a joint", "none")
    axis = base[:3, :3] @ scene.data.xaxis[number]
    anchor = base[:3, :3] @ scene.data.xanchor[number] + base[:3, 3]
    turned = float(np.arccos(np.clip(axis @ expected[:3, 2], -1, 1)))
    far = 0.0
    if entry["joint"]["kind"] != "prismatic":
        far = float(np.linalg.norm(np.cross(anchor - expected[:3, 3], expected[:3, 2])))
    detail = f"axis {1e3 * far:.1f} mm and {np.rad2deg(turned):.1f} degrees off"
    return compared(fact, far <= DISTANCE and turned <= ANGLE, "axis", detail)


def _compare_joint(scene: CompiledScene, entry: Entry) -> Iterator[Finding]:
    name, facts = entry["name"], entry["joint"]
    number = mujoco.mj_name2id(scene.model, mujoco.mjtObj.mjOBJ_JOINT, name)
    if number < 0:
        for what in ("limits", "position", "spring"):
            yield compared(f"{name}.{what}", False, "a joint", "none")
        return
    joint, position = scene.model.joint(number), float(scene.data.joint(number).qpos[0])
    tolerance = DISTANCE if facts["kind"] == "prismatic" else ANGLE
    limits = joint.range.tolist() if scene.model.jnt_limited[number] else None
    yield compared(f"{name}.limits", _near(limits, facts.get("limits"), tolerance),
                   facts.get("limits"), limits)  # fmt: skip
    yield compared(f"{name}.position", abs(position - facts["position"]) <= tolerance,
                   facts["position"], position)  # fmt: skip
    yield _compare_spring(scene, name, facts, number)


def _near(found: list[float] | None, published: list[float] | None, tolerance: float) -> bool:
    if found is None or published is None:
        return found is published
    return bool(np.abs(np.subtract(found, published)).max() <= tolerance)


def _compare_spring(scene: CompiledScene, name: str, facts: Any, number: int) -> Finding:
    model = scene.model
    stiffness = float(model.jnt_stiffness[number])
    if not facts["spring_damper"]:
        return compared(f"{name}.spring", stiffness == 0, "none", stiffness)
    damping = float(model.dof_damping[model.jnt_dofadr[number]])
    target = float(model.qpos_spring[model.jnt_qposadr[number]])
    found = (stiffness, damping, target)
    published = (facts["spring_k"], facts["damping"], facts.get("target", 0.0))
    near = np.allclose(found[:2], published[:2], rtol=0.01)
    return compared(f"{name}.spring", near and abs(target - published[2]) <= DISTANCE,
                    published, found)  # fmt: skip


def _compare_volume(scene: CompiledScene, entry: Entry) -> Finding:
    name, volume = entry["name"], entry["volume"]
    number = scene.model.body(name).id
    geoms = np.flatnonzero(scene.model.geom_bodyid == number)
    low, high = volume["z_from"], volume["z_to"]
    is_box = volume["kind"] != "cylinder"
    sides = volume["xy_near"] if is_box else [2 * volume["radius"]] * 2
    wanted = np.array([[-sides[0] / 2, -sides[1] / 2, low], [sides[0] / 2, sides[1] / 2, high]])
    kind = mujoco.mjtGeom.mjGEOM_BOX if is_box else mujoco.mjtGeom.mjGEOM_CYLINDER
    if len(geoms) != 1 or scene.model.geom_type[geoms[0]] != kind:
        return compared(f"{name}.volume", False, volume["kind"], "something else")
    corners = scene.corners(int(geoms[0]))
    found = np.stack([corners.min(axis=0), corners.max(axis=0)])
    near = np.abs(found - wanted).max() <= DISTANCE
    return compared(f"{name}.volume", near, wanted.tolist(), found.tolist())
