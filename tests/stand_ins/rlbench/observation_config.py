from __future__ import annotations

from pyrep.const import RenderMode


class CameraConfig:
    def __init__(  # noqa: PLR0913 - the signature of RLBench
        self,
        rgb: bool = True,
        rgb_noise: object = None,
        depth: bool = True,
        depth_noise: object = None,
        point_cloud: bool = True,
        mask: bool = True,
        image_size: tuple[int, int] = (128, 128),
        render_mode: RenderMode = RenderMode.OPENGL3,
        masks_as_one_channel: bool = True,
        depth_in_meters: bool = False,
    ) -> None:
        assert all(isinstance(flag, bool) for flag in (rgb, depth, point_cloud, mask))
        assert isinstance(render_mode, RenderMode) and len(image_size) == 2
        self.rgb, self.depth, self.point_cloud, self.mask = rgb, depth, point_cloud, mask
        self.rgb_noise, self.depth_noise = rgb_noise, depth_noise
        self.image_size, self.render_mode = image_size, render_mode
        self.masks_as_one_channel = masks_as_one_channel
        self.depth_in_meters = depth_in_meters


class ObservationConfig:
    def __init__(  # noqa: PLR0913 - the signature of RLBench
        self,
        left_shoulder_camera: CameraConfig | None = None,
        right_shoulder_camera: CameraConfig | None = None,
        overhead_camera: CameraConfig | None = None,
        wrist_camera: CameraConfig | None = None,
        front_camera: CameraConfig | None = None,
        joint_velocities: bool = True,
        joint_positions: bool = True,
        joint_forces: bool = True,
        gripper_open: bool = True,
        gripper_pose: bool = True,
        gripper_matrix: bool = False,
        gripper_joint_positions: bool = False,
        gripper_touch_forces: bool = False,
        wrist_camera_matrix: bool = False,
        record_gripper_closing: bool = False,
        task_low_dim_state: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        for name, value in given.items():
            setattr(self, name, CameraConfig() if value is None else value)
