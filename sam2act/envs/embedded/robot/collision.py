"""Which objects the robot would touch in a given posture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.robot.poses import site_matrix

CLEARANCE = 0.002  # metres; closer than this counts as touching
DETECTION_MARGIN = 0.003  # metres; contacts are reported from here on (planner's model only)
EDGE_SPACING = 0.008  # radians between checked postures; coarser lets a finger cross a block


class Grasp(NamedTuple):
    """A body held by the hand: it moves with the tip and counts as robot."""

    body: int
    position_address: int  # of its free joint in qpos
    tip_from_body: np.ndarray  # (4, 4)


class CollisionChecker:
    """Collision queries on a scratch copy of the scene; the state of `data` is overwritten."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._tip = model.site("tip").id
        self._robot = np.zeros(model.nbody, bool)
        self._robot[[model.body(name).id for name in panda.ROBOT_BODIES]] = True
        self._moving = self._robot
        self._grasps: Sequence[Grasp] = ()
        self._tolerated: frozenset[tuple[int, int]] = frozenset()

    def begin(self, joints: np.ndarray, grasps: Sequence[Grasp]) -> None:
        """Take over what is grasped; pairs that touch already at `joints` are tolerated.

        (RLBench makes such shapes non-collidable.)
        """
        self._grasps = grasps
        self._moving = self._robot.copy()
        self._moving[[grasp.body for grasp in grasps]] = True
        self._tolerated = frozenset()
        self._tolerated = frozenset(self._touching(joints))

    def is_free(self, joints: np.ndarray) -> bool:
        """Whether nothing new is touched in posture `joints` (7,)."""
        return not (self._touching(joints) - self._tolerated)

    def is_edge_free(self, start: np.ndarray, stop: np.ndarray) -> bool:
        """Whether the straight way in joint space is free; `start` itself is not checked."""
        count = max(1, int(np.ceil(np.abs(stop - start).max() / EDGE_SPACING)))
        return all(self.is_free(start + (stop - start) * i / count) for i in range(1, count + 1))

    def _touching(self, joints: np.ndarray) -> set[tuple[int, int]]:
        """Pairs of geoms, one of the robot and one not, that are closer than the clearance."""
        model, data = self._model, self._data
        data.qpos[: panda.NUM_JOINTS] = joints
        mujoco.mj_kinematics(model, data)
        if self._grasps:
            self._carry()
            mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        if data.ncon == 0:
            return set()
        pairs = data.contact.geom
        moving = self._moving[model.geom_bodyid[pairs]]
        close = (moving[:, 0] != moving[:, 1]) & (data.contact.dist < CLEARANCE)
        return {(min(pair), max(pair)) for pair in pairs[close].tolist()}

    def _carry(self) -> None:
        data = self._data
        tip = site_matrix(data, self._tip)
        for grasp in self._grasps:
            pose = tip @ grasp.tip_from_body
            address = grasp.position_address
            data.qpos[address : address + 3] = pose[:3, 3]
            quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
            data.qpos[address + 3 : address + 7] = np.roll(quaternion, 1)
