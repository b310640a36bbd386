"""A task's view of the running simulation: placing things, looking at them, colouring them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.kit.frames import Frames
from sam2act.envs.embedded.kit.mjcf import Vector
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT
from sam2act.envs.embedded.robot.robot import Robot

_SPAWN_TRIES = 100


@dataclass(frozen=True)
class Area:
    """A rectangle on the table: centre and half extents (2,) in metres, world frame."""

    center: tuple[float, float]
    half: tuple[float, float]


@dataclass(frozen=True)
class Zone:
    """An axis-aligned box in the frame of a body (or of the world): centre and half extents (3,)
    in metres."""

    center: tuple[float, float, float]
    half: tuple[float, float, float]
    body: str = "world"


class Scene:
    """What tasks may see and change.

    Args:
        model: the compiled scene.
        data: its state.
        robot: the arm in it.
        frames: the tree of a published scene, or None.

    Attributes:
        random: the episode's generator; everything random is drawn from it.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        robot: Robot,
        frames: Frames | None = None,
    ) -> None:
        self.model, self.data, self.robot = model, data, robot
        self._frames = frames
        self.random = np.random.default_rng(0)
        self._occupied: list[tuple[np.ndarray, float]] = []

    def begin(self, random: np.random.Generator) -> None:
        """Start an episode: nothing has been spawned yet."""
        self.random = random
        self._occupied = []
        if self._frames is not None:
            self._frames.reset()

    @property
    def frames(self) -> Frames:
        """The tree of the published scene."""
        assert self._frames is not None, "this task has no published scene"
        return self._frames

    # --------------------------------------------------------------------------- looking
    def position(self, body: str) -> np.ndarray:
        """(3,) metres, world frame."""
        return self.data.body(body).xpos.copy()

    def matrix(self, body: str) -> np.ndarray:
        """(3, 3) rotation, world from body."""
        return self.data.body(body).xmat.reshape(3, 3).copy()

    def to_world(self, body: str, point: Vector) -> np.ndarray:
        """(3,) world position of a point in the frame of `body`, metres."""
        return self.position(body) + self.matrix(body) @ np.asarray(point, float)

    def yaw(self, body: str) -> float:
        """Turn of the body's x axis about the vertical, radians."""
        matrix = self.matrix(body)
        return float(np.arctan2(matrix[1, 0], matrix[0, 0]))

    def joint(self, name: str) -> float:
        """Metres or radians of a slide or hinge."""
        return float(self.data.joint(name).qpos[0])

    def is_inside(self, body: str, zone: Zone) -> bool:
        """Whether the origin of `body` lies in `zone`."""
        return self._lies_inside(self.position(body), zone)

    def is_tip_inside(self, zone: Zone) -> bool:
        """Whether the tip of the hand lies in `zone`."""
        return self._lies_inside(self.data.site("tip").xpos, zone)

    def _lies_inside(self, point: np.ndarray, zone: Zone) -> bool:
        offset = point - self.position(zone.body)
        local = self.matrix(zone.body).T @ offset - np.asarray(zone.center)
        return bool((np.abs(local) <= zone.half).all())

    def detects(self, sensor: str, shape: str) -> bool:
        """Whether any part of a shape lies in the volume of a proximity sensor."""
        return self.frames.touches(sensor, shape)

    @property
    def holds_nothing(self) -> bool:
        """Whether the gripper holds nothing at all."""
        return not self.robot.grasps

    # -------------------------------------------------------------------------- changing
    def place(
        self,
        body: str,
        position: Vector,
        *,
        yaw: float = 0.0,
        turn: Rotation | None = None,
    ) -> None:
        """Put `body`, free or fixed, to `position` (3,) metres, at rest, turned by `yaw` radians
        about the vertical (or by `turn`)."""
        rotation = Rotation.from_euler("z", yaw) if turn is None else turn
        quaternion = np.roll(rotation.as_quat(), 1)
        joint = self._free_joint(body)
        if joint is None:
            number = self.model.body(body).id
            self.model.body_pos[number] = position
            self.model.body_quat[number] = quaternion
        else:
            joint.qpos[:] = [*position, *quaternion]
            joint.qvel[:] = 0
        mujoco.mj_kinematics(self.model, self.data)

    def spawn(
        self,
        body: str,
        area: Area,
        *,
        height: float = TABLE_HEIGHT,
        radius: float = 0.05,
        yaw: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        """Put `body` somewhere into `area` and give its position (3,).

        Args:
            body: free or fixed body.
            area: where its origin may lie.
            height: z of its origin, metres.
            radius: half of the distance kept from everything else spawned with the same radius.
            yaw: range of the turn about the vertical, radians.

        Raises:
            BoundaryError: no free place was found.
        """
        center, half = np.asarray(area.center), np.asarray(area.half)
        for _ in range(_SPAWN_TRIES):
            spot = self.random.uniform(center - half, center + half)
            if all(np.linalg.norm(spot - other) >= radius + r for other, r in self._occupied):
                self.occupy(spot, radius)
                position = np.array([*spot, height])
                self.place(body, position, yaw=float(self.random.uniform(*yaw)))
                return position
        raise BoundaryError(f"{body}: no free place in the area around {area.center}")

    def occupy(self, spot: Vector, radius: float) -> None:
        """Keep later spawned things away from `spot` (2,) metres."""
        self._occupied.append((np.asarray(spot, float), radius))

    def set_joint(self, name: str, value: float) -> None:
        """Set a slide (metres) or hinge (radians), at rest."""
        joint = self.data.joint(name)
        joint.qpos[0], joint.qvel[0] = value, 0.0

    def set_color(self, name: str, color: Vector) -> None:
        """Colour a geom, or, where there is none of that name, all geoms of a body."""
        for geom in self.geoms(name):
            self.model.geom_rgba[geom, :3] = color

    def geoms(self, name: str) -> list[int]:
        """Numbers of the geom called `name`, or of all geoms of the body called so."""
        number = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_GEOM, name)
        if number >= 0:
            return [number]
        body = self.model.body(name)
        first = int(body.geomadr[0])
        return list(range(first, first + int(body.geomnum[0])))

    def _free_joint(self, body: str) -> Any:
        """The free joint of `body`, or None."""
        address = int(self.model.body(body).jntadr[0])
        if address < 0 or self.model.jnt_type[address] != mujoco.mjtJoint.mjJNT_FREE:
            return None
        return self.data.joint(address)
