"""What an episode reports: RLBench's observation fields from the state of the simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from sam2act.data.rlbench.types import RecordedObservation
from sam2act.envs.base import CAMERAS, EnvConfig
from sam2act.envs.embedded.kit.frames import Frames
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.robot.poses import quaternion_xyzw
from sam2act.envs.embedded.robot.robot import Robot
from sam2act.envs.embedded.sensors.camera import RayCamera
from sam2act.envs.embedded.sensors.pinhole import PinholeCamera

_IMAGE_KINDS = ("rgb", "depth", "mask", "point_cloud")


class Observer:
    """Makes observations of one compiled scene.

    Args:
        config: image size and which kinds of images to make.
        model: the scene.
        robot: the arm in it.
        camera: renders its images.
        origin: entries of `misc` that tell where an observation comes from.
        frames: the tree of a published scene, or None.
    """

    def __init__(
        self,
        config: EnvConfig,
        model: mujoco.MjModel,
        robot: Robot,
        camera: RayCamera,
        origin: Mapping[str, Any],
        frames: Frames | None = None,
    ) -> None:
        self._frames = frames
        self._config, self._model = config, model
        self._robot, self._camera = robot, camera
        self._origin = dict(origin)
        self._fixed: dict[str, tuple[PinholeCamera, np.ndarray, np.ndarray]] = {}

    def low_dimensional(self, data: mujoco.MjData, ignore_collisions: bool) -> RecordedObservation:
        """The observation without images: all image fields are None."""
        tip = self._robot.tip_matrix()
        fingers = self._robot.finger_positions()
        images = {f"{camera}_{kind}": None for camera in CAMERAS for kind in _IMAGE_KINDS}
        is_open = float(fingers.min() / panda.FINGER_TRAVEL > panda.OPEN_FRACTION)
        quaternion = quaternion_xyzw(tip[:3, :3])
        return RecordedObservation(
            **images,
            **self._robot.state(),
            gripper_open=is_open,
            gripper_pose=np.concatenate([tip[:3, 3], quaternion]),
            gripper_matrix=tip,
            gripper_joint_positions=fingers,
            gripper_touch_forces=self._robot.finger_forces(),
            task_low_dim_state=self._task_state(data),
            ignore_collisions=np.array(float(ignore_collisions)),
            misc=self._origin | self._calibration(data),
        )

    def add_image(self, observation: RecordedObservation, data: mujoco.MjData, camera: str) -> None:
        """Fill in what `camera` sees of `data`: colour, depth in metres, what else is wanted."""
        image = self._camera.render(data, camera)
        setattr(observation, f"{camera}_rgb", image.rgb)
        setattr(observation, f"{camera}_depth", image.depth)
        if self._config.masks:
            setattr(observation, f"{camera}_mask", np.maximum(image.geom, 0).astype(np.uint16))
        if self._config.point_clouds:
            cloud = self._camera.point_cloud(data, camera, image.depth)
            setattr(observation, f"{camera}_point_cloud", cloud)

    def _task_state(self, data: mujoco.MjData) -> np.ndarray:
        """As published; without published scene position (3) and quaternion xyzw (4) of every body
        that is not part of the robot."""
        if self._frames is not None:
            return self._frames.state()
        first = self._model.body(panda.ROBOT_BODIES[-1]).id + 1
        quaternions = np.roll(data.xquat[first:], -1, axis=1)
        return np.concatenate([data.xpos[first:], quaternions], axis=1).ravel()

    def _calibration(self, data: mujoco.MjData) -> dict[str, Any]:
        """RLBench's `misc` entries of all five cameras.

        What does not change is the same read-only array in every observation: pickles hold it once.
        """
        calibration: dict[str, Any] = {}
        for name, spec in self._camera.specs.items():
            if name not in self._fixed or self._fixed[name][0] is not spec:
                matrices = np.array(spec.pose), spec.intrinsics(self._config.image_size)
                for matrix in matrices:
                    matrix.flags.writeable = False
                self._fixed[name] = spec, *matrices
            _, pose, intrinsics = self._fixed[name]
            if spec.on_hand:
                pose = self._camera.extrinsics(data, name)
            calibration[f"{name}_camera_extrinsics"] = pose
            calibration[f"{name}_camera_intrinsics"] = intrinsics
            calibration[f"{name}_camera_near"] = spec.near
            calibration[f"{name}_camera_far"] = spec.far
        return calibration
