"""Training samples in the frames of the network: coloured clouds in the unit cube, and targets.

Legend: B batch, N point, H coming keyframes of a sample.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.core.types import KeyframeBatch, KeyframePreviewBatch, KeyframeSequenceBatch
from sam2act.geometry.augmentation import AugmentationNoise, RigidMotion, augmenting_motion
from sam2act.geometry.rotations import bins_from_quaternion, canonical_quaternion
from sam2act.geometry.scene_bounds import CubeFrame
from sam2act.policies.multiview.network import Cloud
from sam2act.policies.multiview.preprocessing import WorldCloud, place_in_cube, world_cloud
from sam2act.policies.multiview.settings import PolicySettings
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.processing.color_jitter import jitter_colors


@dataclass(frozen=True)
class Targets:
    """Ground truth in the frames of the network."""

    waypoint: Tensor  # (B, 3) cube; (B, H, 3) of sequences
    bins: Tensor  # (B, 3); (B, H, 3) of sequences

    def of_step(self, step: int) -> Targets:
        """Those of one keyframe of sequences."""
        return Targets(self.waypoint[:, step], self.bins[:, step])


def prepared(
    batch: KeyframeBatch, noise: TrainingNoise, settings: PolicySettings, *, training: bool
) -> tuple[Cloud, Targets]:
    """Augment, crop and place a batch in the cube; targets move with it.

    What is drawn for a sample moves all coming keyframes of a sequence as it moves the first one.

    Args:
        batch: B samples, or B sequences of keyframes.
        noise: their random numbers.
        settings: of the policy.
        training: False leaves out everything that is random but the subset of points.
    """
    with torch.autocast(batch.rgb.device.type, enabled=False):
        cloud = _colored_cloud(batch, noise, settings, training=training)
        poses = batch.poses if isinstance(batch, KeyframeSequenceBatch) else batch.target_pose
        if settings.augment and training:
            motion = _motion(batch.target_pose, noise.augmentation, settings)
            cloud = WorldCloud(motion.of_points(cloud.points), cloud.rgb)
            poses = motion.of_poses(poses)
        inside, frame = placed(cloud, settings, noise.subset_seed)
        bins = bins_from_quaternion(canonical_quaternion(poses[..., 3:]), settings.bins)
        return inside, Targets(frame.to_cube(poses[..., :3]), bins)


def placed_after(
    batch: KeyframePreviewBatch, noise: TrainingNoise, settings: PolicySettings, *, training: bool
) -> Cloud:
    """What is seen at the next keyframe, moved and placed as `prepared` does the frame itself."""
    with torch.autocast(batch.rgb.device.type, enabled=False):
        now, after = world_cloud(batch.observation()), world_cloud(batch.after)
        if settings.augment and training:
            motion = _motion(batch.target_pose, noise.augmentation, settings)
            now, after = (WorldCloud(motion.of_points(x.points), x.rgb) for x in (now, after))
        _, frame = placed(now, settings, noise.subset_seed)
        cloud, own = placed(after, settings, noise.subset_seed)
        return Cloud(frame.to_cube(own.to_world(cloud.points)), cloud.rgb, cloud.valid)


def placed(
    cloud: WorldCloud, settings: PolicySettings, seed: Tensor | None = None
) -> tuple[Cloud, CubeFrame]:
    """The cloud, cropped and placed in the cube, and where the cube lies in the world.

    Args:
        cloud: of the world.
        settings: of the policy.
        seed: (B,) int64, of the subset of points; None = drawn.
    """
    return place_in_cube(
        cloud,
        settings.bounds,
        crop=settings.crop,
        center_on_cloud=settings.center_on_cloud,
        subset=settings.points,
        subset_seed=seed,
    )


def _motion(pose: Tensor, noise: AugmentationNoise, settings: PolicySettings) -> RigidMotion:
    """How samples with the targets `pose` (B, 7) move; see `peract.sequence_augmentation`."""
    if settings.sequence_augmentation == "shared_draws":
        noise = noise.shared_within(settings.window)
    return augmenting_motion(
        pose,
        noise,
        settings.bounds,
        settings.translation_range,
        settings.rotation_range,
        rigid_window=settings.window if settings.sequence_augmentation == "rigid" else 1,
    )


def _colored_cloud(
    batch: KeyframeBatch, noise: TrainingNoise, settings: PolicySettings, *, training: bool
) -> WorldCloud:
    observation = batch.observation()
    if settings.color_jitter and training:
        rgb = jitter_colors(batch.rgb, settings.color_jitter, noise.color)
        observation = dataclasses.replace(observation, rgb=rgb)
    cloud = world_cloud(observation)
    if settings.color_noise and training:
        cloud = WorldCloud(cloud.points, noisy_colors(cloud.rgb, settings.color_noise))
    return cloud


def noisy_colors(rgb: Tensor, strength: float) -> Tensor:
    """(B, N, 3) colours with what the released option `img_aug_2` is meant to add.

    Each cloud draws its own bound s = strength * U[0, 1) and adds U[-s, s) to every value; the sum
    is not clamped.
    """
    bound = strength * torch.rand(len(rgb), 1, 1, device=rgb.device, dtype=rgb.dtype)
    return rgb + bound * (2 * torch.rand_like(rgb) - 1)
