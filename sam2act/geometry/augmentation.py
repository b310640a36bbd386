"""Random changes of training samples: rigid motions about the target and colour jitter.

B batch, N point, K camera. The random numbers are drawn apart from their use, from an explicit
generator, so that tests and sequences of frames can share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.geometry.rotations import (
    gimbal_corrected_matrix,
    matrix_from_euler_xyz,
    quaternion_xyzw_from_matrix,
)
from sam2act.geometry.scene_bounds import SceneBounds


@dataclass(frozen=True)
class AugmentationNoise:
    """Uniform random numbers in [-1, 1] for one batch."""

    translation: Tensor  # (B, 3)
    rotation: Tensor  # (B, 3) roll, pitch, yaw

    @staticmethod
    def sample(batch: int, generator: torch.Generator) -> AugmentationNoise:
        """Draws on the generator's device, in the published order (translation first)."""

        def draw(width: int) -> Tensor:
            device = generator.device
            return 2 * torch.rand(batch, width, generator=generator, device=device) - 1

        translation = draw(3)
        return AugmentationNoise(translation, torch.cat([draw(1), draw(1), draw(1)], dim=1))

    def to(self, device: torch.device | str) -> AugmentationNoise:
        """The same draws on `device`."""
        return AugmentationNoise(
            self.translation.to(device, non_blocking=True),
            self.rotation.to(device, non_blocking=True),
        )

    def shared_within(self, window: int) -> AugmentationNoise:
        """The first draw of each window of `window` consecutive rows, used for all its rows.

        Raises:
            ValueError: the batch is not a whole number of windows.
        """
        return AugmentationNoise(
            _first_of_windows(self.translation, window), _first_of_windows(self.rotation, window)
        )


@dataclass(frozen=True)
class RigidMotion:
    """A turn of each row about a pivot, then a shift; float64."""

    turn: Tensor  # (B, 3, 3); points are turned by its transpose
    pivot: Tensor  # (B, 3) metres
    shift: Tensor  # (B, 3) metres

    def of_points(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> (B, N, 3), in their dtype."""
        near, moved, matrix = (
            x[:, None].to(points.dtype) for x in (self.pivot, self.pivot + self.shift, self.turn)
        )
        return _turned(points - near, matrix) + moved

    def of_poses(self, poses: Tensor) -> Tensor:
        """(B, 7) or (B, H, 7) -> the same shape and dtype, with canonical quaternions."""
        wide = poses.to(torch.float64)
        position, quaternion = wide[..., :3], wide[..., 3:]
        pivot, shift, turn = self.pivot, self.shift, self.turn
        if poses.ndim == 3:
            pivot, shift, turn = pivot[:, None], shift[:, None], turn[:, None]
        turned = _turned(position - pivot, turn) + pivot
        rotation = quaternion_xyzw_from_matrix(turn.mT @ gimbal_corrected_matrix(quaternion))
        return torch.cat([turned + shift, rotation], dim=-1).to(poses.dtype)


def apply_se3(
    points: Tensor,
    target_pose: Tensor,
    draws: AugmentationNoise,
    bounds: SceneBounds,
    translation_range: Sequence[float],
    rotation_range_degrees: Sequence[float],
    *,
    rigid_window: int = 1,
) -> tuple[Tensor, Tensor]:
    """Turns each cloud about its target position, shifts both and keeps the target in bounds.

    Args:
        points: (B, N, 3) metres, world frame.
        target_pose: (B, 7) position in metres, quaternion (x, y, z, w).
        draws, bounds, translation_range, rotation_range_degrees, rigid_window: see
            `augmenting_motion`.

    Returns:
        points (B, N, 3) and target pose (B, 7) with a canonical quaternion, in their input dtypes.

    Raises:
        ValueError: the batch is not a whole number of windows.
    """
    motion = augmenting_motion(
        target_pose,
        draws,
        bounds,
        translation_range,
        rotation_range_degrees,
        rigid_window=rigid_window,
    )
    return motion.of_points(points), motion.of_poses(target_pose)


def augmenting_motion(
    target_pose: Tensor,
    draws: AugmentationNoise,
    bounds: SceneBounds,
    translation_range: Sequence[float],
    rotation_range_degrees: Sequence[float],
    *,
    rigid_window: int = 1,
) -> RigidMotion:
    """The motion of each row: a turn about its target position, and a shift.

    Points may leave the bounds. A target outside the bounds ends on their surface. Each row turns
    about its own target, so shared draws give the frames of a window different rigid motions.
    With `rigid_window` all frames of a window make one rigid motion: that of the first row's
    draws about the first row's target, with a shift that keeps the window's targets in bounds as
    far as one shift can.

    Args:
        target_pose: (B, 7) position in metres, quaternion (x, y, z, w).
        draws: random numbers for the B rows, on its device.
        bounds: box that limits the target position.
        translation_range: three fractions of the bounds' extent.
        rotation_range_degrees: largest roll, pitch and yaw.
        rigid_window: number of consecutive rows that move as one.

    Raises:
        ValueError: the batch is not a whole number of windows.
    """
    draws = draws.shared_within(rigid_window)
    wide = target_pose.to(torch.float64)
    position = wide[:, :3]
    pivot = _first_of_windows(position, rigid_window)
    fractions, degrees = (
        torch.stack([torch.full_like(wide[0, 0], value) for value in values])
        for values in (translation_range, rotation_range_degrees)
    )
    turn = matrix_from_euler_xyz(torch.deg2rad(degrees * draws.rotation.to(torch.float64)))
    shift = bounds.extent(wide) * fractions * draws.translation.to(torch.float64)
    turned = _turned(position - pivot, turn) + pivot
    windows = turned.unflatten(0, (-1, rigid_window))
    lowest = (bounds.lower(wide) - windows.amin(dim=1)).repeat_interleave(rigid_window, dim=0)
    highest = (bounds.upper(wide) - windows.amax(dim=1)).repeat_interleave(rigid_window, dim=0)
    return RigidMotion(turn, pivot, shift.clamp(lowest, highest))


def _turned(offset: Tensor, matrix: Tensor) -> Tensor:
    """`matrix^T offset` (..., 3), by sums: a matrix product could run in reduced precision."""
    return (offset[..., :, None] * matrix).sum(dim=-2)


def _first_of_windows(rows: Tensor, window: int) -> Tensor:
    """(B, D) with every row replaced by the first of its window of consecutive rows."""
    if window < 1 or len(rows) % window:
        raise ValueError(
            f"a batch of {len(rows)} frames is no whole number of windows of {window} frames"
        )
    shared: Tensor = rows.unflatten(0, (-1, window))[:, :1].expand(-1, window, -1).flatten(0, 1)
    return shared
