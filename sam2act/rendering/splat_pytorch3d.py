"""Soft point splatting with PyTorch3D, for comparison (`use_point_renderer: False`).

The renderer of RVT, which no SAM2Act checkpoint uses: discs instead of pixels, of the five nearest
points of a pixel the mean weighted by 1 - (distance / radius)^2, the depth of the nearest one. It
looks from the cameras of `views.py`, where the original named other faces alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sam2act.rendering.splat_torch import BACKGROUND_DEPTH, center_depth, largest_coordinate
from sam2act.rendering.views import View, project, view_depth

__all__ = ["center_depth", "draw", "largest_coordinate", "prepare"]

POINTS_PER_PIXEL = 5


def prepare(device: str) -> None:
    """Raise `ImportError` if PyTorch3D is absent."""
    import pytorch3d.renderer.points.rasterize_points  # noqa: F401


def draw(  # noqa: PLR0913 (the signature of every backend)
    points: Tensor,
    features: Tensor,
    valid: Tensor | None,
    divisor: Tensor | None,
    out: Tensor,
    *,
    views: Sequence[View],
    size: int,
    radius: float,
) -> None:
    """As `splat_torch.draw`, but soft; points behind a camera are left out."""
    from pytorch3d.renderer.points.rasterize_points import rasterize_points
    from pytorch3d.structures import Pointclouds

    if divisor is not None:
        features = torch.cat([points / divisor[:, None, None], features], dim=-1)
    seen = torch.isfinite(points).all(dim=-1)
    if valid is not None:
        seen = seen & valid
    screen = _screen_points(points, views, size)
    clouds = [screen[b, :, v][seen[b]] for b in range(len(points)) for v in range(len(views))]
    index, depth, distance = rasterize_points(Pointclouds(clouds), size, radius, POINTS_PER_PIXEL)
    table = torch.cat([features[b][seen[b]] for b in range(len(points)) for _ in views])
    weight = (1 - distance / radius**2) * (index >= 0)
    weight = weight / weight.sum(dim=-1, keepdim=True).clamp(min=1e-4)
    values = table[index.clamp(min=0)] if len(table) else weight.new_zeros(*index.shape, 1)
    colors = (weight[..., None] * values).sum(dim=-2).movedim(-1, 1)
    nearest = torch.where(index[..., 0] >= 0, depth[..., 0], BACKGROUND_DEPTH)
    out[:, :, :-1] = colors.unflatten(0, out.shape[:2])
    out[:, :, -1] = nearest.unflatten(0, out.shape[:2])


def _screen_points(points: Tensor, views: Sequence[View], size: int) -> Tensor:
    """(B, N, V, 3) in PyTorch3D's screen frame: x to the left, y up, both in [-1, 1], and depth."""
    plane = 1 - project(points, views, size) * (2 / size)
    return torch.cat([plane, view_depth(points, views)[..., None]], dim=-1)
