"""Forward and inverse kinematics of the arm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.robot import panda

_DAMPING = 1e-5 * np.eye(6)
_LIMIT_MARGIN = 1e-3  # radians kept from the joint limits
_MOST_DISTANCE, _MOST_ANGLE, _MOST_JOINT = 0.1, 0.4, 0.35  # per iteration: m, rad, rad
_TOLERANCE = (5e-4, 2e-3)  # metres, radians: solved
_LAST_TOLERANCE = (1.5e-3, 6e-3)  # still good enough when the iterations are used up
POSTURE_GAIN = 0.3

# Starts of the search for the canonical solution: turned bases and turned wrists.
_SEEDS = np.array(
    [
        [base, *panda.REST[1:6], wrist]
        for base in (0.0, 0.8, -0.8)
        for wrist in (panda.REST[6], 2.2, -0.8)
    ]
)
_SEED_ITERATIONS, _LEAST_ITERATIONS = 60, 25  # at least 25, so that the posture settles
_RANDOM_ITERATIONS = 80
_SAME_SOLUTION = 0.05  # radians
_COMFORT_MARGIN, _COMFORT_WEIGHT = 0.15, 20.0  # radians from a limit, price of being closer


@dataclass(frozen=True)
class Pose:
    """A position in metres and a rotation matrix, world frame."""

    position: np.ndarray
    matrix: np.ndarray

    @staticmethod
    def from_array(values: np.ndarray) -> Pose:
        """From position and quaternion xyzw, (7,)."""
        return Pose(np.array(values[:3], float), Rotation.from_quat(values[3:7]).as_matrix())

    def line_to(self, goal: Pose, steps: int) -> list[Pose]:
        """`steps` poses on the straight way to `goal`, which is the last one."""
        turn = Rotation.from_matrix(goal.matrix @ self.matrix.T).as_rotvec()
        fractions = np.arange(1, steps + 1) / steps
        matrices = Rotation.from_rotvec(fractions[:, None] * turn).as_matrix() @ self.matrix
        positions = self.position + fractions[:, None] * (goal.position - self.position)
        return [Pose(*pair) for pair in zip(positions, matrices, strict=True)]


class Arm:
    """Kinematics on a scratch copy of the scene; the state of `data` is overwritten."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._tip = model.site("tip").id
        self._low = panda.LIMITS[:, 0] + _LIMIT_MARGIN
        self._high = panda.LIMITS[:, 1] - _LIMIT_MARGIN

    def tip(self, joints: np.ndarray) -> Pose:
        """The pose of the fingertips for joint angles (7,)."""
        self._forward(joints)
        matrix = self._data.site_xmat[self._tip].reshape(3, 3)
        return Pose(self._data.site_xpos[self._tip].copy(), matrix.copy())

    def solve(
        self,
        goal: Pose,
        start: np.ndarray,
        *,
        posture: np.ndarray = panda.REST,
        iterations: int = _SEED_ITERATIONS,
        least: int = 0,
    ) -> np.ndarray | None:
        """Joint angles (7,) that reach `goal`, None where the search does not get there.

        Damped least squares; what the six conditions leave free drifts towards `posture`.

        Args:
            goal: the pose to reach.
            start: (7,) radians, where the search begins.
            posture: (7,) radians.
            iterations: at most so many steps.
            least: at least so many, which lets the posture settle.
        """
        joints = start.copy()
        for iteration in range(iterations):
            self._forward(joints)
            error, distance, angle = self._error(goal)
            if distance < _TOLERANCE[0] and angle < _TOLERANCE[1] and iteration >= least:
                return joints
            error *= min(1.0, _MOST_DISTANCE / max(distance, 1e-9), _MOST_ANGLE / max(angle, 1e-9))
            jacobian = self._jacobian()
            drift = POSTURE_GAIN * (posture - joints)
            inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING)
            step = inverse @ (error - jacobian @ drift) + drift
            step *= min(1.0, _MOST_JOINT / max(np.abs(step).max(), 1e-9))
            joints = np.clip(joints + step, self._low, self._high)
        self._forward(joints)
        _, distance, angle = self._error(goal)
        close = distance < _LAST_TOLERANCE[0] and angle < _LAST_TOLERANCE[1]
        return joints if close else None

    def canonical_solutions(self, goal: Pose) -> list[np.ndarray]:
        """Solutions that depend on `goal` alone, the most comfortable first; may be empty."""
        found: list[np.ndarray] = []
        for seed in _SEEDS:
            joints = self.solve(goal, seed, least=_LEAST_ITERATIONS)
            if joints is not None and _is_new(joints, found):
                found.append(joints)
        return sorted(found, key=_discomfort)

    def posture(self, goal: Pose, near: np.ndarray | None = None) -> np.ndarray | None:
        """Joint angles (7,) of some solution, None where no search arrives at `goal`.

        Args:
            goal: the pose to reach.
            near: (7,) radians, where the search begins; canonical searches follow.
        """
        starts = _SEEDS if near is None else [near, *_SEEDS]
        solutions = (self.solve(goal, start) for start in starts)
        return next((joints for joints in solutions if joints is not None), None)

    def further_solutions(
        self, goal: Pose, current: np.ndarray, random: np.random.Generator, trials: int = 12
    ) -> Iterator[np.ndarray]:
        """Solutions found from where the arm is and from random postures."""
        for trial in range(trials):
            start = current if trial == 0 else random.uniform(*panda.LIMITS.T)
            joints = self.solve(goal, start, iterations=_RANDOM_ITERATIONS, least=_LEAST_ITERATIONS)
            if joints is not None:
                yield joints

    def _forward(self, joints: np.ndarray) -> None:
        self._data.qpos[: panda.NUM_JOINTS] = joints
        mujoco.mj_kinematics(self._model, self._data)

    def _jacobian(self) -> np.ndarray:
        """(6, 7) of the tip: velocity and angular velocity per joint speed."""
        axes = self._data.xaxis[: panda.NUM_JOINTS].T
        levers = (self._data.site_xpos[self._tip] - self._data.xanchor[: panda.NUM_JOINTS]).T
        columns = np.empty((panda.NUM_JOINTS, 6))
        jacobian = columns.T
        for row in range(3):  # np.cross would cost more than all the rest
            first, second = row - 2, row - 1
            jacobian[row] = axes[first] * levers[second] - axes[second] * levers[first]
        jacobian[3:] = axes
        return jacobian

    def _error(self, goal: Pose) -> tuple[np.ndarray, float, float]:
        """(6,) position and rotation-vector error, and the two lengths."""
        offset = goal.position - self._data.site_xpos[self._tip]
        x, y, z = offset.tolist()
        turn = (goal.matrix @ self._data.site_xmat[self._tip].reshape(3, 3).T).tolist()
        (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
        u, v, w = zy - yz, xz - zx, yx - xy  # plain numbers: arrays this small cost more
        sine = math.sqrt(u * u + v * v + w * w)
        angle = math.atan2(sine, xx + yy + zz - 1)
        if sine > 1e-8:
            scale = angle / sine
            error = np.array([x, y, z, u * scale, v * scale, w * scale])
        else:  # no turn at all, or half a turn, for which any axis will do
            error = np.array([x, y, z, angle, 0.0, 0.0])
        return error, math.sqrt(x * x + y * y + z * z), angle


def _is_new(joints: np.ndarray, found: list[np.ndarray]) -> bool:
    return all(np.abs(joints - other).max() >= _SAME_SOLUTION for other in found)


def _discomfort(joints: np.ndarray) -> float:
    """How close to joint limits and how far from the rest posture a solution is."""
    room = np.minimum(joints - panda.LIMITS[:, 0], panda.LIMITS[:, 1] - joints)
    shortfall = np.maximum(0.0, _COMFORT_MARGIN - room).sum()
    return float(_COMFORT_WEIGHT * shortfall + np.abs(joints - panda.REST)[:6].sum())
