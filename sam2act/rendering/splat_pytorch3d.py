"""The soft renderer of `splat_soft.py` with PyTorch3D's own rasteriser, for comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from sam2act.rendering.scene import Clouds, Screen
from sam2act.rendering.splat_soft import (
    POINTS_PER_PIXEL,
    Fragments,
    compose,
    rescale,
    screen_points,
    with_background,
)
from sam2act.rendering.splat_torch import BACKGROUND_DEPTH, center_depth, largest_coordinate

__all__ = ["center_depth", "draw", "largest_coordinate", "prepare"]


def prepare(device: str) -> None:
    """Raise `ImportError` if PyTorch3D is absent."""
    import pytorch3d.renderer.points.rasterize_points  # noqa: F401


def draw(clouds: Clouds, screen: Screen, out: Tensor) -> None:
    """As `splat_soft.draw`."""
    from pytorch3d.renderer.points.rasterize_points import rasterize_points
    from pytorch3d.structures import Pointclouds

    seen = torch.isfinite(clouds.points).all(dim=-1)
    if clouds.valid is not None:
        seen = seen & clouds.valid
    positions = screen_points(clouds.points, screen)
    images = [(b, v) for b in range(len(positions)) for v in range(len(screen.views))]
    index, depth, distance = rasterize_points(
        Pointclouds([positions[b, seen[b], v] for b, v in images]),
        *(screen.size, screen.radius, POINTS_PER_PIXEL),
    )
    features = clouds.drawn_features()
    table = with_background(torch.cat([features[b, seen[b]] for b, _ in images]))
    nearest = torch.where(index[..., 0] >= 0, depth[..., 0], BACKGROUND_DEPTH)
    everything = torch.arange(len(images), device=out.device)
    compose(Fragments(index, nearest, distance), table, screen.radius, out, everything)
    rescale(out[:, :, :-1])
