"""The base class of tasks, and the functions in which tasks are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.kit.frames import Frames
from sam2act.envs.embedded.kit.mjcf import Fragment, Vector
from sam2act.envs.embedded.kit.scene import Scene

SizeRange = tuple[float, float]


@dataclass(frozen=True)
class Waypoint:
    """One keyframe action of the scripted expert.

    Attributes:
        pose: (7,) position in metres and quaternion xyzw of the tip, world frame.
        gripper_open: state of the gripper after the motion.
        ignore_collisions: whether the way there may touch things.
        opening: 0 to 1, how far demonstrations open the fingers after the motion; None = all the
            way, or not at all. Actions only know open and closed.
    """

    pose: np.ndarray
    gripper_open: bool
    ignore_collisions: bool = True
    opening: float | None = None

    @property
    def action(self) -> np.ndarray:
        """The (9,) action that `Env.step` takes."""
        return np.array([*self.pose, float(self.gripper_open), float(self.ignore_collisions)])


@dataclass(frozen=True)
class TaskOptions:
    """How a task is built.

    Attributes:
        object_scale: factor of the size of what is manipulated.
        receiver_scale: factor of the size of what it is brought to.
        memory_strict: remove what would give the past away (MemoryBench tasks).
        strict_order: MemoryBench conditions count in the described order only.
        scales: name and factor of the size of single objects of a published scene.
    """

    object_scale: float = 1.0
    receiver_scale: float = 1.0
    memory_strict: bool = True
    strict_order: bool = False
    scales: tuple[tuple[str, float], ...] = ()


class Task:
    """A task: its things, its variations, when it is solved and how it is done.

    One file per task in `tasks/`; the class is named like the file in camel case. Instances live
    as long as the compiled model; what belongs to an episode is set in `init_episode`.

    Class attributes:
        variations: their number.
        graspable: bodies that the closing gripper attaches when its sensor sees them.
        manipulated: bodies or geoms that perturbations of the manipulated object change.
        receivers: the same for the receiver object; empty where there is none.
        told_by_looks: bodies or geoms that instructions tell from others by colour or print;
            perturbations leave their colour and texture alone, and give nothing else their colour.
        lookalikes: kinds of distractor shapes that could be taken for what instructions name.
        pushed: what is pushed or dragged: its mass and friction are what The Colosseum varies.
        object_sizes: range of the object's size factor that the script can handle; None where size
            cannot vary.
        receiver_sizes: the same for the receiver.
        scene_known: whether there is a published scene that is known; where not, layout and sizes
            are our own.
        may_turn: whether the arm may turn round between two waypoints.
        needs_lines: whether scenes are sampled again in which the arm could not go straight where
            it may touch things, but would swing through them.
    """

    variations: ClassVar[int]
    graspable: ClassVar[tuple[str, ...]] = ()
    manipulated: ClassVar[tuple[str, ...]] = ()
    receivers: ClassVar[tuple[str, ...]] = ()
    told_by_looks: ClassVar[tuple[str, ...]] = ()
    lookalikes: ClassVar[tuple[str, ...]] = ()
    pushed: ClassVar[tuple[str, ...]] = ()
    object_sizes: ClassVar[SizeRange | None] = None
    receiver_sizes: ClassVar[SizeRange | None] = None
    scene_known: ClassVar[bool] = True
    may_turn: ClassVar[bool] = False
    needs_lines: ClassVar[bool] = False

    def __init__(self, options: TaskOptions | None = None) -> None:
        self.options = options or TaskOptions()

    def fragment(self) -> Fragment:
        """Bodies, constraints and exclusions that the model gets."""
        raise NotImplementedError

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """Place and colour things with `scene.random`; the instructions, the main one first.

        Raises:
            BoundaryError: something does not fit.
            WaypointError: the script could not do it in this scene; another one is sampled.
        """
        raise NotImplementedError

    def frames(self, model: mujoco.MjModel, data: mujoco.MjData) -> Frames | None:
        """The tree of the published scene; None where there is none."""
        return None

    def place_scene(self, scene: Scene) -> None:
        """Called after `init_episode`: put the whole scene somewhere.

        Raises:
            BoundaryError: it does not fit.
        """

    def no_obstacles(self) -> list[str]:
        """Bodies that planned motions need not avoid."""
        return []

    def step(self, scene: Scene) -> None:
        """Called after every frame: latches, colours, catches."""

    def released(self, scene: Scene, body: str) -> None:
        """Called when the gripper has let go of `body`."""

    def success(self, scene: Scene) -> bool:
        """Whether the task is solved now."""
        raise NotImplementedError

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """The scripted expert, one waypoint per keyframe.

        A generator: it is resumed for a waypoint when the one before has been reached, so it may
        look at the scene. It must also run through at reset, where nothing has moved; a scene in
        which the arm cannot reach one of these poses is sampled again.
        """
        raise NotImplementedError


# ------------------------------------------------------------------------------ vocabulary
def gripper_rotation(approach: Vector, fingers: Vector) -> np.ndarray:
    """Quaternion xyzw of a gripper that points along `approach` and closes along `fingers`.

    Both are (3,) directions in the world frame; `fingers` is made perpendicular.
    """
    z = np.asarray(approach, float) / np.linalg.norm(approach)
    y = np.asarray(fingers, float) - z * np.dot(fingers, z)
    y /= np.linalg.norm(y)
    return Rotation.from_matrix(np.stack([np.cross(y, z), y, z], axis=1)).as_quat()


def down(yaw: float = 0.0, symmetry: int = 2) -> np.ndarray:
    """Quaternion xyzw of a gripper that points down and closes along y turned by `yaw` radians.

    Args:
        yaw: turn about the vertical.
        symmetry: in how many turns the grasped shape looks the same; the equivalent yaw nearest to
            0 is taken. A gripper itself has 2.
    """
    period = 2 * np.pi / symmetry
    yaw = (yaw + period / 2) % period - period / 2
    return gripper_rotation((0, 0, -1), (-np.sin(yaw), np.cos(yaw), 0))


def go(
    position: Vector,
    rotation: np.ndarray,
    *,
    grip: bool = False,
    collide: bool = True,
) -> Waypoint:
    """A waypoint at `position` (3,) with the gripper closed afterwards (`grip`) or open.

    `collide`: whether the way there may touch things.
    """
    return Waypoint(np.array([*position, *rotation]), not grip, collide)


class LatchedConditions:
    """Conditions that count as met once they have held; with `ordered`, only in that order."""

    def __init__(self, count: int, *, ordered: bool = False) -> None:
        self._met = [False] * count
        self._ordered = ordered

    def update(self, *holds: bool) -> None:
        """Latch every condition that holds now."""
        for number, held in enumerate(holds):
            if held and (not self._ordered or all(self._met[:number])):
                self._met[number] = True

    @property
    def all_met(self) -> bool:
        """Whether every condition has held."""
        return all(self._met)
