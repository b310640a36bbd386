from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from pyrep.const import ConfigurationPathAlgorithms, ObjectType
from pyrep.objects.shape import TreeShape
from pyrep.world import WORLD

from rlbench.backend.observation import Observation
from rlbench.observation_config import ObservationConfig

CAMERAS = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
LOW, HIGH = np.array([-0.3, -0.655, 0.752]), np.array([0.9, 0.655, 1.752])


class Path:
    """Every step of the path needs a simulation step before the next one."""

    def __init__(self, arm: Arm, pose: np.ndarray) -> None:
        self._arm, self._pose, self._left = arm, pose, WORLD.path_length
        self._next = WORLD.steps

    def step(self) -> bool:
        assert self._left > 0, "stepped beyond the end of the path"
        assert WORLD.steps == self._next, "one simulation step per step of the path"
        self._left -= 1
        self._next += 1
        if self._left == 0:
            self._arm.pose = self._pose
        return self._left == 0


class Arm:
    def __init__(self) -> None:
        self.pose = np.array([0.28, 0.0, 1.47, 0.0, 1.0, 0.0, 0.0])

    def get_path(  # noqa: PLR0913 - the signature of PyRep
        self,
        position: np.ndarray,
        euler: Any = None,
        quaternion: Any = None,
        ignore_collisions: bool = False,
        trials: int = 300,
        max_configs: int = 1,
        distance_threshold: float = 0.65,
        max_time_ms: int = 10,
        trials_per_goal: int = 1,
        algorithm: ConfigurationPathAlgorithms = ConfigurationPathAlgorithms.SBL,
        relative_to: Any = None,
    ) -> Path:
        assert isinstance(ignore_collisions, bool) and relative_to is None and euler is None
        assert isinstance(algorithm, ConfigurationPathAlgorithms)
        position, quaternion = np.asarray(position), np.asarray(quaternion)
        assert position.shape == (3,) and position.dtype == np.float64
        assert quaternion.shape == (4,) and np.isclose(np.linalg.norm(quaternion), 1.0)
        assert ((position > LOW) & (position < HIGH)).all(), "outside of the workspace"
        search = (trials, max_configs, max_time_ms, trials_per_goal, algorithm.name)
        WORLD.note("get_path", position, quaternion, ignore_collisions, search)
        if WORLD.path_errors:
            raise WORLD.path_errors.pop(0)
        return Path(self, np.concatenate([position, quaternion]))

    def check_arm_collision(self, obj: TreeShape | None = None) -> bool:
        return bool(WORLD.touching) if obj is None else obj.name in WORLD.touching

    def get_objects_in_tree(self, object_type: ObjectType = ObjectType.ALL) -> list[TreeShape]:
        assert object_type is ObjectType.SHAPE
        return [TreeShape("robot")]


class Gripper:
    def __init__(self) -> None:
        self.is_open = True

    def get_grasped_objects(self) -> list[TreeShape]:
        return [TreeShape("held")]


class Scene:
    def __init__(self, obs_config: ObservationConfig, task: Any) -> None:
        self._config = obs_config
        self.task = task
        self.robot = SimpleNamespace(arm=Arm(), gripper=Gripper())
        self.pyrep = SimpleNamespace(get_objects_in_tree=self._all_shapes)

    @staticmethod
    def _all_shapes(
        root_object: Any = None, object_type: ObjectType = ObjectType.ALL
    ) -> list[TreeShape]:
        assert root_object is None and object_type is ObjectType.SHAPE
        return [TreeShape(name) for name in WORLD.collidable]

    def step(self) -> None:
        WORLD.steps += 1

    def get_observation(self) -> Observation:
        config, misc, fields = self._config, {}, {}
        for name in CAMERAS:
            camera = getattr(config, f"{name}_camera")
            size = tuple(camera.image_size)
            near, far = 0.01, 4.5
            depth = np.full(size, 1.0 if camera.depth_in_meters else 0.2, np.float32)
            fields[f"{name}_rgb"] = np.zeros((*size, 3), np.uint8) if camera.rgb else None
            fields[f"{name}_depth"] = depth if camera.depth else None
            cloud = np.zeros((*size, 3), np.float32) if camera.point_cloud else None
            fields[f"{name}_point_cloud"] = cloud
            fields[f"{name}_mask"] = np.zeros(size, np.int32) if camera.mask else None
            misc[f"{name}_camera_extrinsics"] = np.eye(4)
            misc[f"{name}_camera_intrinsics"] = np.diag([-100.0, -100.0, 1.0])
            misc[f"{name}_camera_near"], misc[f"{name}_camera_far"] = near, far
        return Observation(
            **fields,
            joint_velocities=np.zeros(7),
            joint_positions=np.zeros(7),
            gripper_open=float(self.robot.gripper.is_open),
            gripper_pose=self.robot.arm.pose.copy(),
            gripper_joint_positions=np.full(2, 0.04 * self.robot.gripper.is_open),
            task_low_dim_state=self.task.placement,
            misc=misc,
        )
