"""Where the objects of a published scene are: its tree of frames in the running simulation."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.assembly import Assembly
from sam2act.envs.embedded.kit.facts import ObjectFacts
from sam2act.envs.embedded.robot.poses import body_matrix, quaternion_xyzw

_CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
# Of every object: the body that carries it, its pose there (4, 4); row and name of joints.
_Layout = tuple[np.ndarray, np.ndarray, list[tuple[int, str]]]
_FAR = 1.0  # metres beyond which distances are not computed


class Frames:
    """Poses of all objects of an assembly, bodies and mere frames alike, (4, 4), world frame.

    Kinematics of `data` need to be up to date; everything here that moves things keeps them so.

    Args:
        assembly: what the model was built from.
        model: the compiled scene.
        data: its state.
    """

    def __init__(self, assembly: Assembly, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.assembly, self.facts = assembly, assembly.facts
        self._model, self._data = model, data
        self._bodies = {
            item.name: int(model.body(item.name).id)
            for item in self.facts.objects.values()
            if assembly.is_body(item)
        }
        self._loaded = {
            item.name: assembly.relative(item)
            for item in self.facts.objects.values()
            if item.name not in self._bodies and item.joint is None
        }
        self._geoms = {name: self._geoms_of(name) for name in self._bodies}
        self.reset()

    def reset(self) -> None:
        """Marks of the script at their places of loading; bodies are restored by the model."""
        self._relative = dict(self._loaded)
        self._layout: _Layout | None = None

    def _geoms_of(self, name: str) -> list[int]:
        number = self._bodies[name]
        first = int(self._model.body_geomadr[number])
        return list(range(first, first + int(self._model.body_geomnum[number])))

    # --------------------------------------------------------------------------- looking
    def pose(self, name: str) -> np.ndarray:
        """(4, 4) of object `name` now, world frame."""
        if name in self._bodies:
            return body_matrix(self._data, self._bodies[name])
        item = self.facts.objects[name]
        assert item.parent is not None  # the root is a body
        if item.joint is not None:
            return self.pose(item.parent) @ self.assembly.relative(item)
        parent = self.facts.objects[item.parent]
        return self._carrier(parent) @ self._relative[name]

    def _carrier(self, parent: ObjectFacts) -> np.ndarray:
        """The frame in which children of `parent` are given now: that of its joint moves."""
        pose = self.pose(parent.name)
        if parent.joint is not None:
            moved = np.eye(4)
            position = self._joint_position(parent)
            if parent.joint.slides:
                moved[2, 3] = position
            else:
                moved[:3, :3] = Rotation.from_euler("z", position).as_matrix()
            pose = pose @ moved
        return pose

    def _joint_position(self, item: ObjectFacts) -> float:
        """Metres or radians of a joint now; one on which nothing moves stays as loaded."""
        assert item.joint is not None
        if not self.assembly.is_moving(item):
            return item.joint.position
        return float(self._data.joint(item.name).qpos[0])

    def state(self) -> np.ndarray:
        """RLBench's low-dimensional state: position and quaternion xyzw of every object but the
        base, a joint's followed by its position, (7 N + J,) metres and radians."""
        if self._layout is None:
            self._layout = self._find_layout()
        carriers, relative, joints = self._layout
        turns = self._data.xmat[carriers].reshape(-1, 3, 3)
        positions = self._data.xpos[carriers] + (turns @ relative[:, :3, 3:])[..., 0]
        quaternions = quaternion_xyzw(turns @ relative[:, :3, :3])
        rows = np.concatenate([positions, quaternions], axis=1)
        values = [self._joint_position(self.facts.objects[name]) for _, name in joints]
        return np.insert(rows.ravel(), [7 * (row + 1) for row, _ in joints], values)

    def _find_layout(self) -> _Layout:
        carriers, relative, joints = [], [], []
        for row, name in enumerate(self.facts.by_level()[1:]):
            above = name
            while above not in self._bodies:
                above = str(self.facts.objects[above].parent)
            carriers.append(self._bodies[above])
            relative.append(np.linalg.inv(self.pose(above)) @ self.pose(name))
            if self.facts.objects[name].joint is not None:
                joints.append((row, name))
        return np.array(carriers), np.array(relative), joints

    def touches(self, first: str, second: str) -> bool:
        """Whether any part of one shape is inside of, or touches, the other (shape or sensor)."""
        fromto = np.zeros((1, 6))
        return any(
            mujoco.mj_geomDistance(self._model, self._data, a, b, _FAR, fromto) <= 0
            for a in self._geoms[first]
            for b in self._geoms[second]
        )

    def collide(self, first: str, second: str) -> bool:
        """Whether any solid shapes of two objects and of what is below them touch."""
        return any(
            self.touches(one, other)
            for one in self._solids(first)
            for other in self._solids(second)
        )

    def _solids(self, name: str) -> list[str]:
        items = (self.facts.objects[child] for child in self.facts.subtree(name))
        return [item.name for item in items if item.shape is not None and item.shape.is_solid]

    def box(self, name: str, frame: np.ndarray | None = None, *, whole: bool = True) -> np.ndarray:
        """(2, 3) least and greatest coordinates of `name` and all below it: shapes, sensors, marks.

        Args:
            name: an object.
            frame: (4, 4) in whose axes the box stands; None = the world's.
            whole: False = of the object itself only.
        """
        inverse = np.eye(4) if frame is None else np.linalg.inv(frame)
        names = self.facts.subtree(name) if whole else [name]
        points = [self._points(child) for child in names]
        corners = np.concatenate(points) @ inverse[:3, :3].T + inverse[:3, 3]
        return np.stack([corners.min(axis=0), corners.max(axis=0)])

    def _points(self, name: str) -> np.ndarray:
        """(N, 3) corners of what `name` itself occupies, world frame."""
        item, pose = self.facts.objects[name], self.pose(name)
        points = np.zeros((1, 3))
        scale = self.assembly.scale(name)
        if item.shape is not None:
            points = _CORNERS * scale * np.array(item.shape.size)
        elif item.volume is not None:
            volume = item.volume
            points = scale * (_CORNERS * np.array(volume.size) + np.array(volume.center))
        return points @ pose[:3, :3].T + pose[:3, 3]

    # -------------------------------------------------------------------------- changing
    def move(self, name: str, pose: np.ndarray) -> None:
        """Put object `name` and all below it, at rest, to `pose` (4, 4), world frame."""
        item = self.facts.objects[name]
        before = np.linalg.inv(self.pose(name))
        followers = [
            (child, before @ self.pose(child))
            for child in self.facts.subtree(name)[1:]
            if self._is_apart(child, name)
        ]
        if name not in self._bodies:
            assert item.parent is not None and item.joint is None
            parent = self._carrier(self.facts.objects[item.parent])
            self._relative[name] = np.linalg.inv(parent) @ pose
            self._layout = None
        else:
            self._set_body(item, pose)
        for child, relative in followers:
            self._set_body(self.facts.objects[child], pose @ relative)
        mujoco.mj_kinematics(self._model, self._data)

    def _is_apart(self, child: str, name: str) -> bool:
        """Whether `child`, a body below `name`, has to be moved after it, one by one."""
        if child not in self._bodies or self.assembly.is_free(self.facts.objects[child]):
            return child in self._bodies
        above = child
        while above != name:
            above = str(self.facts.objects[above].parent)
            if above in self._bodies:
                return False
        return True

    def _set_body(self, item: ObjectFacts, pose: np.ndarray) -> None:
        number = self._bodies[item.name]
        if self.assembly.is_free(item):
            joint = self._data.joint(f"{item.name}_free")
            joint.qpos[:3] = pose[:3, 3]
            joint.qpos[3:] = np.roll(quaternion_xyzw(pose[:3, :3]), 1)
            joint.qvel[:] = 0
            return
        above = body_matrix(self._data, int(self._model.body_parentid[number]))
        local = np.linalg.inv(above) @ pose
        self._model.body_pos[number] = local[:3, 3]
        self._model.body_quat[number] = np.roll(quaternion_xyzw(local[:3, :3]), 1)
