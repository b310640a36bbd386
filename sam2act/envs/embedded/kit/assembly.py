"""From the facts of a published scene to bodies of a MuJoCo model.

Every shape becomes a body of its name: fixed ones hang below the base, freely moving ones stand
beside it. Every sensor becomes a body with one geom that touches nothing and is never seen.
Frames that are neither (marks of the script, joints) stay out of the model; see `kit.frames`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.facts import JointFacts, ObjectFacts, SceneFacts, ShapeFacts, Solid
from sam2act.envs.embedded.kit.mjcf import (
    HIDDEN_GROUP,
    SENSOR_GROUP,
    Color,
    Fragment,
    body,
    element,
    grasp_weld,
    shape,
)

PLANE_THICKNESS = 0.001  # metres; a plane's upper face stays where it is
JOINT_DAMPING, JOINT_FRICTION = 2.0, 0.3  # of joints without spring: N s/m, N
_LEAST_MASS = 0.01  # kilograms of a body that moves; lighter ones make the solver tremble

# Makes the geoms of a shape, given a scale; for shapes of which only the box is known.
Maker = Callable[[float], str]


@dataclass(frozen=True)
class Look:
    """What a task says of a shape beyond its facts.

    Attributes:
        make: makes its geoms in its frame, for a factor of size; None = from solids.
        solids: what it consists of, instead of the facts' solids.
        color: instead of the facts' colour.
        joint: damping and friction of the joint that it hangs on, N s/m and N.
        friction: coefficient of its solids against anything; None = the larger one of both sides.
        damping: of the motion of a shape that no joint holds, N s/m and N m s/rad.
    """

    make: Maker | None = None
    solids: Sequence[Solid] = ()
    color: Color | None = None
    joint: tuple[float, float] = (JOINT_DAMPING, JOINT_FRICTION)
    friction: float | None = None
    damping: float | None = None


@dataclass(frozen=True)
class Assembly:
    """How a scene is built.

    Attributes:
        facts: of the scene.
        looks: by name of the shape.
        scales: factors of the size of an object and all below it, by name.
        graspable: shapes that the gripper can hold.
    """

    facts: SceneFacts
    looks: Mapping[str, Look] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    graspable: Sequence[str] = ()

    def fragment(self) -> Fragment:
        """The bodies of the scene, the base at its place at loading."""
        root = self.facts.objects[self.facts.root]
        poses = self.poses()
        fixed = self._body(root, root.in_parent)
        free = "".join(self._body(item, poses[item.name]) for item in self._free())
        welds = "".join(grasp_weld(name) for name in self.graspable)
        return Fragment(fixed + free, welds, self._exclusions())

    def relative(self, item: ObjectFacts) -> np.ndarray:
        """(4, 4) pose of an object in its parent, scaled, with the joint above it at loading."""
        pose = item.in_parent.copy()
        if item.parent is not None:
            pose[:3, 3] *= self.scale(item.parent)
            pose = (
                _joint_motion(self.facts.objects[item.parent].joint, self.scale(item.parent)) @ pose
            )
            pose[:3, 3] += self._lift(item)
        return pose

    def _lift(self, item: ObjectFacts) -> np.ndarray:
        """(3,) by which a scaled object moves in its parent so that it stands as high as before."""
        factor = self.scales.get(item.name, 1.0)
        if factor == 1.0 or item.parent is None:
            return np.zeros(3)
        unscaled = Assembly(self.facts).poses()
        lowest = min(
            (unscaled[name][:3, :3] @ corner + unscaled[name][:3, 3])[2]
            for name in self.facts.subtree(item.name)
            for corner in _corners(self.facts.objects[name].shape)
        )
        height = unscaled[item.name][2, 3] - lowest
        return unscaled[item.parent][:3, :3].T @ np.array([0.0, 0.0, height * (factor - 1.0)])

    def poses(self) -> dict[str, np.ndarray]:
        """(4, 4) of every object at loading, world frame."""
        found: dict[str, np.ndarray] = {}
        for item in self.facts.objects.values():
            pose = self.relative(item)
            found[item.name] = pose if item.parent is None else found[item.parent] @ pose
        return found

    def is_free(self, item: ObjectFacts) -> bool:
        """Whether an object moves freely."""
        on_joint = item.parent is not None and self.facts.objects[item.parent].joint is not None
        return item.shape is not None and item.shape.is_dynamic and not on_joint

    def is_body(self, item: ObjectFacts) -> bool:
        """Whether an object is a body of the model."""
        return item.shape is not None or item.volume is not None or item.parent is None

    def is_moving(self, joint: ObjectFacts) -> bool:
        """Whether anything moves along or about a joint; others are rigid, not in the model."""
        shapes = [child.shape for child in self.facts.children(joint.name)]
        return any(shape is not None and shape.is_dynamic for shape in shapes)

    def _exclusions(self) -> str:
        """What hangs on a joint passes through the thing that carries the joint, as published."""
        pairs = set()
        for item in self.facts.objects.values():
            if item.joint is None or item.parent is None:
                continue
            moving = [
                c.name for c in self.facts.children(item.name) if self._is_fixed_shape(c.name)
            ]
            carrier = self.facts.subtree(item.parent)
            for name in moving:
                others = [other for other in carrier if self._is_fixed_shape(other)]
                pairs |= {(min(name, other), max(name, other)) for other in others if other != name}
        return "".join(
            element("exclude", body1=first, body2=second) for first, second in sorted(pairs)
        )

    def _is_fixed_shape(self, name: str) -> bool:
        item = self.facts.objects[name]
        return item.shape is not None and not self.is_free(item)

    def _free(self) -> list[ObjectFacts]:
        return [item for item in self.facts.objects.values() if self.is_free(item)]

    def scale(self, name: str | None) -> float:
        """Factor of the size of an object: its own and those of all above it."""
        factor = 1.0
        while name is not None:
            factor *= self.scales.get(name, 1.0)
            name = self.facts.objects[name].parent
        return factor

    # ------------------------------------------------------------------------------ bodies
    def _body(self, item: ObjectFacts, pose: np.ndarray) -> str:
        """The body of `item` at `pose` in the body above it, with everything that hangs on it."""
        parts: list[str] = []
        if self.is_free(item):
            damping = self._look(item.name).damping
            parts.append(element("joint", name=f"{item.name}_free", type="free", damping=damping))
        joint = None if item.parent is None else self.facts.objects[item.parent].joint
        weight = None
        if joint is not None and item.shape is not None and item.shape.is_dynamic:
            parts.append(self._joint(item, joint))
            # What rests on a spring lies where the spring wants it: a button does not sag.
            weight = 1 if joint.spring is not None else None
        parts.append(self._geoms(item))
        parts += self._below(item, np.eye(4))
        return body(item.name, *parts, pos=pose[:3, 3], quat=_quaternion(pose), gravcomp=weight)

    def _below(self, item: ObjectFacts, offset: np.ndarray) -> list[str]:
        """Bodies below `item`; frames between them are passed through."""
        parts = []
        for child in self.facts.children(item.name):
            if self.is_free(child):
                continue
            pose = offset @ self.relative(child)
            if self.is_body(child):
                parts.append(self._body(child, pose))
            else:
                parts += self._below(child, pose)
        return parts

    def _joint(self, item: ObjectFacts, joint: JointFacts) -> str:
        scale = self.scale(item.parent)
        inverse = np.linalg.inv(item.in_parent)
        origin, axis = scale * inverse[:3, 3], inverse[:3, 2]
        unit = scale if joint.slides else 1.0
        stiffness, damping = joint.spring or (0.0, 0.0)
        friction = 0.0
        if joint.spring is None:
            damping, friction = self._look(item.name).joint
        limits = None if joint.limits is None else unit * np.array(joint.limits)
        return element(
            "joint",
            name=item.parent,
            type="slide" if joint.slides else "hinge",
            pos=origin,
            axis=axis,
            range=limits,
            ref=unit * joint.position,
            springref=unit * joint.target,
            stiffness=stiffness,
            damping=damping,
            frictionloss=friction,
            armature=0.01,
        )

    def _look(self, name: str) -> Look:
        return self.looks.get(name, Look())

    # ------------------------------------------------------------------------------- geoms
    def _geoms(self, item: ObjectFacts) -> str:
        scale = self.scale(item.name)
        if item.volume is not None:
            volume = item.volume
            size = scale * np.array(volume.size)
            return shape(
                *_primitive(volume.kind, size),
                (0, 1, 0),
                pos=scale * np.array(volume.center),
                name=item.name,
                class_="visual",
                group=SENSOR_GROUP,
            )
        if item.shape is None:
            return ""
        look = self._look(item.name)
        if look.make is not None:
            return look.make(scale)
        if not item.shape.is_solid and not item.shape.is_seen:
            return ""
        facts, solids = item.shape, look.solids or item.shape.solids
        masses = _masses(facts, solids)
        return "".join(
            self._solid(item.name, number, solid, facts, scale, mass)
            for number, (solid, mass) in enumerate(zip(solids, masses, strict=True))
        )

    def _solid(
        self, name: str, number: int, solid: Solid, facts: ShapeFacts, scale: float, mass: float
    ) -> str:
        size, pose = scale * np.array(solid.size), solid.pose
        position = scale * pose[:3, 3]
        kind = {"cuboid": "box", "mesh": "box", "plane": "box"}.get(solid.kind, solid.kind)
        if solid.kind == "plane":
            size = np.array([*size[:2], PLANE_THICKNESS])
            position = position - pose[:3, 2] * PLANE_THICKNESS / 2
        look = self._look(name)
        slides = facts.is_solid and look.friction is not None
        return shape(
            *_primitive(kind, size),
            look.color or solid.color or facts.color,
            pos=position,
            quat=_quaternion(pose),
            name=geom_name(name, number),
            class_="object" if facts.is_solid else "visual",
            group=None if facts.is_seen else HIDDEN_GROUP,
            mass=mass * scale**3 if facts.is_solid else None,
            friction=(look.friction, 0.01, 0.001) if slides else None,
            priority=1 if slides else None,
        )


def _corners(facts: ShapeFacts | None) -> np.ndarray:
    """(N, 3) corners of the box of a shape in its frame, metres; none without shape."""
    if facts is None:
        return np.zeros((0, 3))
    return np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * np.array(facts.size)


def geom_name(shape_name: str, number: int) -> str:
    """Name of the `number`-th geom of a shape."""
    return f"{shape_name}.{number}"


def _joint_motion(joint: JointFacts | None, scale: float) -> np.ndarray:
    """(4, 4) that a joint at its position at loading adds before what hangs on it."""
    motion = np.eye(4)
    if joint is None:
        return motion
    if joint.slides:
        motion[2, 3] = scale * joint.position
    else:
        motion[:3, :3] = Rotation.from_euler("z", joint.position).as_matrix()
    return motion


def _primitive(kind: str, size: np.ndarray) -> tuple[str, np.ndarray]:
    """MuJoCo's kind and half extents of a primitive with full extents `size` (3,)."""
    if kind == "cylinder":
        return kind, np.array([max(size[:2]), size[2]]) / 2
    if kind == "sphere":
        return kind, size[:1] / 2
    return kind, np.maximum(size, 1e-4) / 2


def _masses(facts: ShapeFacts, solids: Sequence[Solid]) -> list[float]:
    """Kilograms of each of the solids of a shape, by volume."""
    volumes = np.array([max(np.prod(np.maximum(s.size, 1e-4)), 1e-12) for s in solids])
    total = max(facts.mass, _LEAST_MASS) if facts.is_dynamic else facts.mass
    return list(total * volumes / volumes.sum())


def _quaternion(pose: np.ndarray) -> np.ndarray:
    """(4,) wxyz of a (4, 4) pose."""
    return np.roll(Rotation.from_matrix(pose[:3, :3]).as_quat(), 1)
