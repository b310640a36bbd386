"""From a gripper pose to a path of the arm, and from the path to its timing."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import mujoco
import numpy as np

from sam2act.envs.base import ConfigurationPathError, IKError, WaypointError
from sam2act.envs.embedded.kit.workspace import FRAME_SECONDS
from sam2act.envs.embedded.robot import panda, rrt
from sam2act.envs.embedded.robot.collision import DETECTION_MARGIN, CollisionChecker, Grasp
from sam2act.envs.embedded.robot.kinematics import Arm, Pose

_LINE_STEPS = 40
_LINE_ITERATIONS = 12
_LARGEST_JUMP = 0.35  # radians per step of a line; more means a change of branch
_OFF_CANONICAL = 0.12  # radians at the end of a line
_GOALS_TRIED = 4
_LARGEST_TURN = 3.5  # radians of a joint between two goals of a script
_PATIENT_TRIALS = 100  # searches for a free posture where the usual ones find none, as published
_NEAR_CANONICAL = 1.5  # radians; in collision mode other goals may not differ by more

_SPEED, _ACCELERATION = 0.83, 6.0  # rad/s, rad/s^2 of the fastest joint, as in recorded demos
_LEAST_FRAMES = 5  # of a motion


@dataclass(frozen=True)
class JointPath:
    """Joint angles (N, 7) from the current posture to the goal, and how they were found."""

    joints: np.ndarray
    kind: str  # line, free line, joint line, rrt


class Planner:
    """Plans on a copy of the scene, so that nothing it does reaches the simulation.

    Args:
        model: the scene; shapes are copied once, poses at every plan.
        no_obstacles: names of bodies that motions need not avoid.

    Attributes:
        arm: kinematics on that copy.
    """

    def __init__(self, model: mujoco.MjModel, no_obstacles: Sequence[str] = ()) -> None:
        self._model = copy.copy(model)
        for name in no_obstacles:
            geoms = self._model.geom_bodyid == self._model.body(name).id
            self._model.geom_contype[geoms] = self._model.geom_conaffinity[geoms] = 0
        self._model.geom_margin[:] = DETECTION_MARGIN
        self._data = mujoco.MjData(self._model)
        self.arm = Arm(self._model, self._data)
        self._checker = CollisionChecker(self._model, self._data)
        self.random = np.random.default_rng(0)

    def plan(
        self,
        scene: tuple[mujoco.MjModel, mujoco.MjData],
        start: np.ndarray,
        goal: Pose,
        *,
        ignore_collisions: bool,
        grasps: Sequence[Grasp] = (),
    ) -> JointPath:
        """A path from joint angles `start` (7,) to the canonical posture of `goal`.

        Raises:
            IKError: no joint solution.
            ConfigurationPathError: no free goal posture or no free path.
        """
        self._synchronise(*scene)
        if not ignore_collisions:
            self._checker.begin(start, grasps)
        solutions = self.arm.canonical_solutions(goal)
        others = self.arm.further_solutions(goal, start, self.random)
        if not solutions:
            solutions = list(islice(others, 1))
        if not solutions:
            raise IKError(f"no joint solution for position {np.round(goal.position, 3)}")
        canonical = solutions[0]
        for posture, kind in ((canonical, "line"), (None, "free line")):
            joints = self._line(start, goal, posture, ignore_collisions)
            if joints is not None:
                return JointPath(joints, kind)
        if ignore_collisions:
            goals = [canonical, *_near(canonical, chain(solutions[1:], others), _GOALS_TRIED - 1)]
            nearest = min(goals, key=lambda joints: np.abs(joints - start).max())
            return JointPath(np.array([start, nearest]), "joint line")
        patient = self.arm.further_solutions(goal, start, self.random, _PATIENT_TRIALS)
        return self._around(start, canonical, chain(solutions[1:], others), patient)

    def check_reach(
        self, data: mujoco.MjData, goals: Iterable[Pose], *, may_turn: bool = False
    ) -> None:
        """Make sure that the arm has a posture for every goal, collisions aside, and need not turn
        round between two of them because a joint is at its limit, unless it `may_turn`.

        Raises:
            WaypointError: one is out of reach.
        """
        self._data.qpos[:] = data.qpos
        before = None
        for number, goal in enumerate(goals):
            joints = self.arm.posture(goal, before)
            if joints is None:
                raise WaypointError(f"waypoint {number} is out of reach")
            turn = 0.0 if before is None else np.abs(joints - before).max()
            if turn > _LARGEST_TURN and not may_turn:
                raise WaypointError(f"the arm would turn round before waypoint {number}")
            before = joints

    def check_lines(
        self, data: mujoco.MjData, start: np.ndarray, goals: Iterable[tuple[Pose, bool]]
    ) -> None:
        """Make sure that every motion that may touch things is a straight one, in whichever of its
        usual postures the arm comes to the goal before, from joint angles `start` (7,) on.

        Args:
            data: the scene.
            start: radians.
            goals: poses, and whether the motion there may touch things.

        Raises:
            WaypointError: the arm would swing through the scene on one of them.
        """
        self._data.qpos[:] = data.qpos
        postures = [start]
        for number, (goal, ignore_collisions) in enumerate(goals):
            canonical = self.arm.canonical_solutions(goal)[:1]
            if ignore_collisions:
                lines = [self._first_line(joints, goal, (*canonical, None)) for joints in postures]
                if any(line is None for line in lines):
                    raise WaypointError(f"there is no straight way to waypoint {number}")
            else:  # around obstacles to the canonical posture, or straight with least motion
                lines = [self._first_line(joints, goal, (None,)) for joints in postures[:1]]
            ends = [line[-1] for line in lines if line is not None]
            postures = ends if ignore_collisions else [*canonical, *ends]

    def _first_line(
        self, start: np.ndarray, goal: Pose, ends: Sequence[np.ndarray | None]
    ) -> np.ndarray | None:
        """The straight way from `start` (7,) that ends in the first possible of `ends`."""
        lines = (self._line(start, goal, end, True) for end in ends)
        return next((line for line in lines if line is not None), None)

    def _synchronise(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model.body_pos[:] = model.body_pos
        self._model.body_quat[:] = model.body_quat
        self._data.qpos[:] = data.qpos

    def _line(
        self,
        start: np.ndarray,
        goal: Pose,
        canonical: np.ndarray | None,
        ignore_collisions: bool,
    ) -> np.ndarray | None:
        """The straight way of the tip, ending in `canonical` or, if None, with least motion."""
        joints, path = start, [start]
        target = start if canonical is None else canonical
        for step, pose in enumerate(self.arm.tip(start).line_to(goal, _LINE_STEPS), start=1):
            posture = start + (target - start) * step / _LINE_STEPS
            following = self.arm.solve(pose, joints, posture=posture, iterations=_LINE_ITERATIONS)
            if following is None or np.abs(following - joints).max() > _LARGEST_JUMP:
                return None
            if not ignore_collisions and not self._checker.is_edge_free(joints, following):
                return None
            joints = following
            path.append(joints)
        if canonical is not None:
            if np.abs(joints - canonical).max() > _OFF_CANONICAL:
                return None
            if not ignore_collisions and not self._checker.is_edge_free(joints, canonical):
                return None
            path.append(canonical)
        return np.array(path)

    def _around(
        self,
        start: np.ndarray,
        canonical: np.ndarray,
        others: Iterator[np.ndarray],
        patient: Iterator[np.ndarray],
    ) -> JointPath:
        """Around obstacles: per goal posture the direct joint motion, then random trees.

        `patient` are postures to look at where the others collide.
        """
        is_free = self._checker.is_free
        goals = [canonical] if is_free(canonical) else []
        free_others = (joints for joints in others if is_free(joints))
        goals += _near(canonical, free_others, _GOALS_TRIED - len(goals))
        goals = goals or list(islice(filter(is_free, patient), _GOALS_TRIED))
        if not goals:
            raise ConfigurationPathError("every posture that reaches the pose collides")
        for goal in goals:
            if self._checker.is_edge_free(start, goal):
                return JointPath(np.array([start, goal]), "joint line")
            joints = rrt.connect(start, goal, panda.LIMITS, self._checker.is_edge_free, self.random)
            if joints is not None:
                return JointPath(joints, "rrt")
        raise ConfigurationPathError("no free path to the pose was found")


def _near(canonical: np.ndarray, candidates: Iterator[np.ndarray], most: int) -> list[np.ndarray]:
    """At most `most` candidates that do not differ much from the canonical posture."""
    near = (joints for joints in candidates if np.abs(joints - canonical).max() < _NEAR_CANONICAL)
    return list(islice(near, most))


def time_path(path: np.ndarray) -> np.ndarray:
    """Joint angles (T, 7), one per frame, of a trapezoidal speed profile along `path` (N, 7).

    The fastest joint's speed and acceleration are those of recorded RLBench demos. A slower start
    would make the keyframe heuristic take the first frame for a stop; the end of a motion of fewer
    than five frames it would overlook.
    """
    lengths = np.abs(np.diff(path, axis=0)).max(axis=1)
    moving = lengths > 1e-9
    path = path[np.concatenate([[True], moving])]
    covered = np.concatenate([[0.0], np.cumsum(lengths[moving])])
    total = covered[-1]
    if total < 1e-6:
        return path[-1:]
    speed = min(_SPEED, np.sqrt(total * _ACCELERATION))
    ramp = speed / _ACCELERATION
    duration = 2 * ramp + (total - speed * ramp) / speed
    frames = max(_LEAST_FRAMES, int(np.ceil(duration / FRAME_SECONDS)))
    time = np.linspace(0, duration, frames + 1)[1:]
    position = np.select(
        [time < ramp, time > duration - ramp],
        [
            0.5 * _ACCELERATION * time**2,
            total - 0.5 * _ACCELERATION * (duration - time) ** 2,
        ],
        0.5 * speed * ramp + speed * (time - ramp),
    )
    position[-1] = total
    return np.stack([np.interp(position, covered, joint) for joint in path.T], axis=1)
