"""Soft point splatting with PyTorch3D, for comparison (`use_point_renderer: False`).

This is the renderer of RVT, which no SAM2Act checkpoint uses. Points are discs instead of pixels.
A pixel shows the mean of its five nearest points, weighted by 1 - (distance / radius)^2, and the
depth of the nearest one. The cameras are those of `views.py`; RVT uses the same names for other
faces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sam2act.rendering.scene import Clouds, Screen
from sam2act.rendering.splat_torch import BACKGROUND_DEPTH, center_depth, largest_coordinate
from sam2act.rendering.views import project, view_depth

__all__ = ["center_depth", "draw", "largest_coordinate", "prepare"]

POINTS_PER_PIXEL = 5


def prepare(device: str) -> None:
    """Raise `ImportError` if PyTorch3D is absent."""
    import pytorch3d.renderer.points.rasterize_points  # noqa: F401


def draw(clouds: Clouds, screen: Screen, out: Tensor) -> None:
    """As `splat_torch.draw`, but soft; points behind a camera are left out."""
    from pytorch3d.renderer.points.rasterize_points import rasterize_points
    from pytorch3d.structures import Pointclouds

    seen = torch.isfinite(clouds.points).all(dim=-1)
    if clouds.valid is not None:
        seen = seen & clouds.valid
    positions = _screen_points(clouds.points, screen)
    images = [(b, v) for b in range(len(positions)) for v in range(len(screen.views))]
    index, depth, distance = rasterize_points(
        Pointclouds([positions[b, seen[b], v] for b, v in images]),
        *(screen.size, screen.radius, POINTS_PER_PIXEL),
    )
    features = clouds.drawn_features()
    table = torch.cat([features[b, seen[b]] for b, _ in images])
    weight = (1 - distance / screen.radius**2) * (index >= 0)
    weight = weight / weight.sum(dim=-1, keepdim=True).clamp(min=1e-4)
    values = table[index.clamp(min=0)] if len(table) else weight.new_zeros(*index.shape, 1)
    colors = (weight[..., None] * values).sum(dim=-2).movedim(-1, 1)
    nearest = torch.where(index[..., 0] >= 0, depth[..., 0], BACKGROUND_DEPTH)
    out[:, :, :-1] = colors.unflatten(0, out.shape[:2])
    out[:, :, -1] = nearest.unflatten(0, out.shape[:2])


def _screen_points(points: Tensor, screen: Screen) -> Tensor:
    """(B, N, V, 3) in PyTorch3D's screen frame: x to the left, y up, both in [-1, 1], and depth."""
    plane = 1 - project(points, screen.views, screen.size) * (2 / screen.size)
    return torch.cat([plane, view_depth(points, screen.views)[..., None]], dim=-1)
