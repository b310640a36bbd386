"""Tasks whose scene is built from the facts of the published one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.kit.assembly import Assembly, Look
from sam2act.envs.embedded.kit.facts import SceneFacts, scene_facts
from sam2act.envs.embedded.kit.frames import Frames
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.placing import place_base
from sam2act.envs.embedded.kit.scene import Scene
from sam2act.envs.embedded.kit.task import Task, TaskOptions, Waypoint


class PublishedTask(Task):
    """A task in the likeness of the published one.

    Its objects come from `facts/<name>.json`; a class says what is asked, when it is solved, and
    where the script departs from the published waypoints.

    Class attributes:
        resized: objects whose size the factor of the manipulated object changes, with all below.
        resized_receivers: the same for the receiver.
        deviations: what differs from the published task on purpose, fact -> reason.
    """

    resized: ClassVar[tuple[str, ...]] = ()
    resized_receivers: ClassVar[tuple[str, ...]] = ()
    deviations: ClassVar[Mapping[str, str]] = {}

    def __init__(self, options: TaskOptions | None = None) -> None:
        super().__init__(options)
        self.facts: SceneFacts = scene_facts(self.scene_name())
        scales = dict.fromkeys(self.resized, self.options.object_scale)
        scales |= dict.fromkeys(self.resized_receivers, self.options.receiver_scale)
        scales |= dict(self.options.scales)
        self.assembly = Assembly(self.facts, self.looks(), scales, self.graspable)

    @classmethod
    def scene_name(cls) -> str:
        """Name of the file of facts: that of the module."""
        return cls.__module__.rpartition(".")[2]

    def looks(self) -> Mapping[str, Look]:
        """Shapes of our own making, colours and joints, by name of the shape."""
        return {}

    def frames(self, model: mujoco.MjModel, data: mujoco.MjData) -> Frames:
        """The tree of the published scene."""
        return Frames(self.assembly, model, data)

    def place_scene(self, scene: Scene) -> None:
        """Put the base somewhere, turned, and make sure that the arm touches nothing."""
        place_base(scene.frames, scene.random)
        if scene.robot.touches_anything():
            raise BoundaryError("the scene touches the arm")

    def fragment(self) -> Fragment:
        """Everything in the facts."""
        return self.assembly.fragment()

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """The published waypoints in order, each where it is when its turn comes."""
        yield from self.follow(scene, [f"waypoint{k}" for k in range(self.facts.waypoints)])

    def follow(self, scene: Scene, names: Iterable[str]) -> Iterator[Waypoint]:
        """Marks of the script as waypoints, each where it is when its turn comes."""
        opening = 0.0 if scene.robot.is_closed else 1.0
        for name in names:
            waypoint = self._waypoint(scene, name, opening)
            opening = opening if waypoint.opening is None else waypoint.opening
            yield waypoint

    def _waypoint(self, scene: Scene, name: str, opening: float) -> Waypoint:
        marks = self.facts.objects[name].marks
        pose = scene.frames.pose(name)
        quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
        after = opening if marks.opening is None else marks.opening
        return Waypoint(
            np.concatenate([pose[:3, 3], quaternion]),
            after > 0.9,
            marks.ignore_collisions,
            after,
        )

    def no_obstacles(self) -> list[str]:
        """Solid shapes that planned motions need not avoid."""
        return [
            item.name
            for item in self.facts.objects.values()
            if item.shape is not None and item.shape.is_solid and not self._is_obstacle(item.name)
        ]

    def _is_obstacle(self, name: str) -> bool:
        below = (self.facts.objects[child] for child in self.facts.subtree(name))
        shapes = [(item.name, item.shape) for item in below if item.shape is not None]
        return any(
            shape.is_obstacle and (child == name or not shape.is_solid) for child, shape in shapes
        )
