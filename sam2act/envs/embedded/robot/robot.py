"""The simulated arm: moving it frame by frame, its gripper, and holding things."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np

from sam2act.envs.base import SimulationError
from sam2act.envs.embedded.kit.workspace import FRAME_SECONDS, STEPS_PER_FRAME
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.robot.collision import Grasp
from sam2act.envs.embedded.robot.poses import body_matrix, quaternion_xyzw, site_matrix

_ARM, _FINGERS = slice(0, 7), slice(7, 9)  # of qpos, qvel and ctrl: the robot's joints come first
_BAD_STATES = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)


class Robot:
    """The Panda in a running simulation.

    Attributes:
        target: (7,) joint angles that the servos hold, radians.
        is_closed: whether the last command closed the gripper.
        grasps: the bodies that it holds, by name.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._tip = model.site("tip").id
        self._hand = model.body("hand").id
        self._sensor = model.geom(panda.SENSOR).id
        self._robot = np.zeros(model.nbody, bool)
        self._robot[[model.body(name).id for name in panda.ROBOT_BODIES]] = True
        self._pads = [model.geom(name).id for name in panda.PADS]
        self.reset()

    def reset(self) -> None:
        """Home posture, gripper open and empty."""
        self.target = panda.HOME.copy()
        self.is_closed = False
        self.grasps: dict[str, Grasp] = {}
        data = self._data
        data.qpos[_ARM] = data.ctrl[_ARM] = panda.HOME
        data.qpos[_FINGERS] = data.ctrl[_FINGERS] = panda.FINGER_TRAVEL

    # ------------------------------------------------------------------------- motion
    def advance(self, target: np.ndarray | None = None) -> None:
        """Simulate one frame, moving the servo targets evenly to `target` (7,) or holding them.

        Raises:
            SimulationError: the physics became unstable.
        """
        start = self.target
        target = start if target is None else target
        lead = panda.VELOCITY_FEED_FORWARD * (target - start) / FRAME_SECONDS
        control = self._data.ctrl
        for step in range(1, STEPS_PER_FRAME + 1):
            control[_ARM] = start + (target - start) * (step / STEPS_PER_FRAME) + lead
            mujoco.mj_step(self._model, self._data)
        # A step leaves poses as they were before it; conditions, scripts and cameras want the new
        # ones, and looking must not change what follows.
        mujoco.mj_kinematics(self._model, self._data)
        self.target = target
        if any(self._data.warning[state].number for state in _BAD_STATES):
            raise SimulationError("the physics became unstable; the scene is no longer usable")

    def is_at_rest(self, speed: float = 0.02) -> bool:
        """Whether no joint is faster than `speed` rad/s."""
        return bool(np.abs(self._data.qvel[_ARM]).max() < speed)

    def fingers_are_at_rest(self) -> bool:
        """Whether the fingers have stopped."""
        return bool(np.abs(self._data.qvel[_FINGERS]).max() < 1e-3)

    # ------------------------------------------------------------------------ gripper
    def command_fingers(self, opening: float) -> None:
        """Tell the finger servos how far to open, 0 to 1; nothing moves yet."""
        self.is_closed = opening <= panda.OPEN_COMMAND
        closed = panda.FINGER_CLOSED_TARGET
        target = opening * panda.FINGER_TRAVEL if opening > 0 else closed
        self._data.ctrl[_FINGERS] = target

    def grasp(self, names: Iterable[str]) -> None:
        """Attach every body of `names` that the sensor of the hand sees."""
        for name in names:
            if name not in self.grasps and self._sees(name):
                self._attach(name)

    def release(self) -> list[str]:
        """Detach everything; the names of what was held."""
        released = list(self.grasps)
        for name in released:
            self._data.eq_active[self._model.equality(f"grasp_{name}").id] = 0
            self._model.body_gravcomp[self.grasps[name].body] = 0
        self.grasps = {}
        return released

    def touches_anything(self) -> bool:
        """Whether any part of the arm touches something else where everything is now."""
        mujoco.mj_forward(self._model, self._data)
        pairs = self._data.contact.geom[: self._data.ncon]
        ours = self._robot[self._model.geom_bodyid[pairs]]
        close = self._data.contact.dist[: self._data.ncon] <= 0
        return bool(((ours[:, 0] != ours[:, 1]) & close).any())

    def _sees(self, name: str) -> bool:
        """Whether any part of body `name` lies in the sensor between the fingers."""
        body = self._model.body(name)
        first, count = int(body.geomadr[0]), int(body.geomnum[0])
        fromto = np.zeros((1, 6))
        return any(
            mujoco.mj_geomDistance(self._model, self._data, self._sensor, geom, 1.0, fromto) <= 0
            for geom in range(first, first + count)
        )

    def _attach(self, name: str) -> None:
        model, data = self._model, self._data
        body = model.body(name).id
        turn = data.xmat[self._hand].reshape(3, 3).T
        offset = turn @ (data.xpos[body] - data.xpos[self._hand])
        quaternion = quaternion_xyzw(turn @ data.xmat[body].reshape(3, 3))
        weld = model.equality(f"grasp_{name}").id
        # anchor (3), relative position (3) and quaternion wxyz (4), torque scale (1)
        model.eq_data[weld, :11] = [0, 0, 0, *offset, *np.roll(quaternion, 1), 1]
        data.eq_active[weld] = 1
        model.body_gravcomp[body] = 1  # the arm does not sag under what it carries
        address = int(model.jnt_qposadr[model.body_jntadr[body]])
        tip_from_body = np.linalg.inv(self.tip_matrix()) @ body_matrix(data, body)
        self.grasps[name] = Grasp(body, address, tip_from_body)

    # --------------------------------------------------------------------- observation
    def tip_matrix(self) -> np.ndarray:
        """(4, 4) pose of the fingertips, world frame."""
        return site_matrix(self._data, self._tip)

    def finger_positions(self) -> np.ndarray:
        """(2,) metres that each finger is open."""
        return self._data.qpos[_FINGERS].copy()

    def finger_forces(self) -> np.ndarray:
        """(6,) newtons, world frame: the contact force on the left, then on the right pad."""
        forces = np.zeros((2, 3))
        wrench = np.zeros(6)
        for number in range(self._data.ncon):
            contact = self._data.contact[number]
            for side, pad in enumerate(self._pads):
                if pad in (contact.geom1, contact.geom2):
                    mujoco.mj_contactForce(self._model, self._data, number, wrench)
                    force = contact.frame.reshape(3, 3).T @ wrench[:3]  # on geom2
                    forces[side] += force if pad == contact.geom2 else -force
        return forces.ravel()

    def state(self) -> dict[str, np.ndarray]:
        """RLBench's joint fields: `joint_positions`, `joint_velocities`, `joint_forces`, (7,)."""
        return {
            "joint_positions": panda.to_rlbench_joints(self._data.qpos[_ARM]),
            "joint_velocities": self._data.qvel[_ARM].copy(),
            "joint_forces": self._data.qfrc_actuator[_ARM].copy(),
        }
