"""The box of interest of a scene and the map between world metres and the [-1, 1]^3 cube.

B batch, N point. World frame in metres; cube frame without unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CubeFrame:
    """A uniform scaling per sample: `cube = (world - center) * scale`."""

    center: Tensor  # (B, 3) metres, world frame
    scale: Tensor  # (B,) cube units per metre

    def to_cube(self, points: Tensor) -> Tensor:
        """Cube coordinates of world points (B, N, 3) or (B, 3)."""
        center, scale = self._expanded(points)
        return (points - center) * scale

    def to_world(self, points: Tensor) -> Tensor:
        """World coordinates, in metres, of cube points (B, N, 3) or (B, 3)."""
        center, scale = self._expanded(points)
        return points / scale + center

    def _expanded(self, points: Tensor) -> tuple[Tensor, Tensor]:
        middle = (1,) * (points.dim() - 2)
        batch = self.center.shape[0]
        return self.center.reshape(batch, *middle, 3), self.scale.reshape(batch, *middle, 1)


@dataclass(frozen=True)
class SceneBounds:
    """An axis-aligned box in the world frame, corners in metres."""

    minimum: tuple[float, float, float]
    maximum: tuple[float, float, float]

    @staticmethod
    def from_sequence(values: Sequence[float]) -> SceneBounds:
        """The box `x_min, y_min, z_min, x_max, y_max, z_max`.

        Raises:
            ValueError: not six values, or a minimum that is not below its maximum.
        """
        numbers = [float(value) for value in values]
        if len(numbers) != 6 or not all(numbers[i] < numbers[i + 3] for i in range(3)):
            raise ValueError(
                f"scene_bounds: {numbers} is not x_min,y_min,z_min,x_max,y_max,z_max with "
                "every minimum below its maximum"
            )
        low_x, low_y, low_z, high_x, high_y, high_z = numbers
        return SceneBounds((low_x, low_y, low_z), (high_x, high_y, high_z))

    def lower(self, like: Tensor) -> Tensor:
        """(3,) lowest corner with the device and dtype of `like`."""
        return _vector(self.minimum, like)

    def upper(self, like: Tensor) -> Tensor:
        """(3,) highest corner with the device and dtype of `like`."""
        return _vector(self.maximum, like)

    def center(self, like: Tensor) -> Tensor:
        """(3,) middle of the box with the device and dtype of `like`."""
        pairs = zip(self.minimum, self.maximum, strict=True)
        return _vector([(low + high) / 2 for low, high in pairs], like)

    def extent(self, like: Tensor) -> Tensor:
        """(3,) edge lengths in metres with the device and dtype of `like`."""
        pairs = zip(self.minimum, self.maximum, strict=True)
        return _vector([high - low for low, high in pairs], like)

    def contains(self, points: Tensor) -> Tensor:
        """(...) bool: which world points (..., 3) lie inside or on the box; NaN never does."""
        inside = (points >= self.lower(points)) & (points <= self.upper(points))
        return inside.all(dim=-1)

    def cube_frame(self, batch: int, like: Tensor) -> CubeFrame:
        """The frame in which the box's longest edge spans [-1, 1] (`place_with_mean: False`)."""
        longest = max(h - low for low, h in zip(self.minimum, self.maximum, strict=True))
        scale = torch.full((batch,), 2 / longest, dtype=like.dtype, device=like.device)
        return CubeFrame(self.center(like).expand(batch, 3), scale)


def cube_frame_of_cloud(points: Tensor, valid: Tensor | None = None) -> CubeFrame:
    """The frame in which each cloud's longest extent spans [-1, 1] (`place_with_mean: True`).

    The centre is the middle of the cloud's own bounding box, not the mean of its points.

    Args:
        points: (B, N, 3) metres, world frame.
        valid: (B, N) bool, points that count; None = all. A cloud without points gets centre 0,
            a cloud without extent scale 1.
    """
    infinity = float("inf")
    used = torch.ones_like(points[..., 0], dtype=torch.bool) if valid is None else valid
    lowest = points.masked_fill(~used[..., None], infinity).amin(dim=1)
    highest = points.masked_fill(~used[..., None], -infinity).amax(dim=1)
    some = used.any(dim=1, keepdim=True)
    center = torch.where(some, (highest + lowest) / 2, 0)
    extent = torch.where(some, highest - lowest, 0).amax(dim=-1)
    return CubeFrame(center, torch.where(extent > 0, 2 / extent, 1))


def _vector(values: Sequence[float], like: Tensor) -> Tensor:
    """Constants filled in on the device; copying them over would wait for the device."""
    fills = [torch.full((), value, dtype=like.dtype, device=like.device) for value in values]
    return torch.stack(fills)
