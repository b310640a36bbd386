"""From a coloured point cloud in the unit cube to the images that the network reads.

B batch, V view, N point, C channel, S image side in pixels. Rendering has no gradients, is done
in float32 and is not affected by autocast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require
from sam2act.rendering.backends import backend_names, check_backend, select_backend
from sam2act.rendering.scene import Clouds, Screen
from sam2act.rendering.splat_torch import rasterize
from sam2act.rendering.views import View

__all__ = [
    "DRAWN_CHANNELS",
    "RendererConfig",
    "backend_names",
    "rasterize",
    "render",
    "render_features",
    "write_pixel_location",
]

DRAWN_CHANNELS = 7  # position, colour, depth
LOCATION_CHANNELS = 3  # view, row and column


@dataclass(frozen=True)
class RendererConfig(ComponentConfig):
    """Virtual-view renderer (`renderer.*`, added)."""

    radius: float = 0.012  # splat radius in cube units
    backend: str = "auto"  # fastest that works on the device; see rendering/backends.py

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.radius > 0, "renderer.radius must be positive")
        check_backend(self.backend)


@torch.no_grad()
def render(  # noqa: PLR0913 (independent keyword options)
    points: Tensor,
    rgb: Tensor,
    valid: Tensor | None = None,
    *,
    views: Sequence[View],
    size: int,
    radius: float,
    normalize_xyz: bool = True,
    antialias: int = 1,
    center_depth: bool = True,
    pixel_location: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Images of a batch of clouds: position, colour and mean-centred depth.

    Args:
        points: (B, N, 3) cube frame; points outside the cube may hide others (quirk R2).
        rgb: (B, N, 3) in [0, 1].
        valid: (B, N) bool, points that exist; None = all. Non-finite points never exist.
        views: V views.
        size: image side S.
        radius: splat radius in cube units (published: 0.012).
        normalize_xyz: divide positions by the largest coordinate of the cloud (`norm_corr`).
        antialias: sub-pixels per axis (published: 1).
        center_depth: subtract each view's mean depth.
        pixel_location: append the channels of `write_pixel_location`.
        backend: one of `backend_names()`.

    Returns:
        (B, V, 7 or 10, S, S) float32: xyz, rgb, depth. Empty pixels are 0 with depth -1.

    Raises:
        ValueError: unknown backend, or shapes that do not fit together.
    """
    _check_shapes(points, rgb, valid)
    points = points.to(torch.float32)
    if normalize_xyz:
        divisor = select_backend(backend, points).largest_coordinate(points, valid)
    else:
        divisor = points.new_ones(len(points))
    return _pictures(
        Clouds(points, rgb.to(torch.float32), valid, divisor),
        Screen(tuple(views), size, radius),
        antialias=antialias,
        center_depth=center_depth,
        location_channels=LOCATION_CHANNELS if pixel_location else 0,
        backend=backend,
    )


@torch.no_grad()
def render_features(  # noqa: PLR0913 (independent keyword options)
    points: Tensor,
    features: Tensor,
    valid: Tensor | None = None,
    *,
    views: Sequence[View],
    size: int,
    radius: float,
    antialias: int = 1,
    center_depth: bool = True,
    backend: str = "auto",
) -> Tensor:
    """As `render`, for any features (B, N, C); returns (B, V, C + 1, S, S) with depth last."""
    _check_shapes(points, features, valid)
    return _pictures(
        Clouds(points.to(torch.float32), features.to(torch.float32), valid),
        Screen(tuple(views), size, radius),
        antialias=antialias,
        center_depth=center_depth,
        location_channels=0,
        backend=backend,
    )


def write_pixel_location(images: Tensor) -> None:
    """Fills the last three channels of (B, V, C, S, S): view, row and column in [-1, 1]."""
    _, views, _, height, width = images.shape

    def ramp(count: int) -> Tensor:
        return torch.linspace(-1, 1, count, device=images.device, dtype=images.dtype)

    images[:, :, -3] = ramp(views)[:, None, None]
    images[:, :, -2] = ramp(height)[:, None]
    images[:, :, -1] = ramp(width)


def _pictures(
    clouds: Clouds,
    screen: Screen,
    *,
    antialias: int,
    center_depth: bool,
    location_channels: int,
    backend: str,
) -> Tensor:
    """Drawn channels, centred depth and location in one tensor."""
    points, size, drawn = clouds.points, screen.size, clouds.channels
    images = points.new_empty(len(points), len(screen.views), drawn + location_channels, size, size)
    target = images[:, :, :drawn]
    finer = target
    if antialias > 1:
        screen = replace(screen, size=size * antialias)
        finer = points.new_empty(*target.shape[:3], screen.size, screen.size)
    drawing = select_backend(backend, points)
    drawing.draw(clouds, screen, finer)
    if antialias > 1:
        _merge_subpixels(finer, target, antialias)
    if center_depth:
        drawing.center_depth(target[:, :, -1])
    if location_channels:
        write_pixel_location(images)
    return images


def _check_shapes(points: Tensor, features: Tensor, valid: Tensor | None) -> None:
    cloud = points.shape[:2]
    if points.dim() != 3 or points.shape[2] != 3 or features.shape[:2] != cloud:
        raise ValueError(
            f"points {tuple(points.shape)} and features {tuple(features.shape)} must be "
            "(B, N, 3) and (B, N, C)"
        )
    devices = {tensor.device for tensor in (points, features, valid) if tensor is not None}
    if len(devices) > 1:
        raise ValueError(f"points, features and valid lie on several devices: {devices}")
    if valid is not None and (valid.shape != cloud or valid.dtype != torch.bool):
        raise ValueError(
            f"valid must be a bool tensor {tuple(cloud)}, not {valid.dtype} {tuple(valid.shape)}"
        )


def _merge_subpixels(finer: Tensor, target: Tensor, factor: int) -> None:
    """Mean features and nearest depth of factor x factor sub-pixels.

    An empty sub-pixel resets the depth (quirk R6), so only those visited after the last empty one
    count, and the pixel is empty if the last one is.
    """
    total, nearest = torch.zeros_like(target[:, :, :-1]), None
    for dx in range(factor):
        for dy in range(factor):
            part = finer[..., dy::factor, dx::factor]
            total = total + part[:, :, :-1]
            depth = part[:, :, -1]
            if nearest is None:
                nearest = depth
            fresh = (depth < 0) | (nearest < 0)
            nearest = torch.where(fresh, depth, torch.minimum(nearest, depth))
    assert nearest is not None
    target[:, :, :-1] = total / factor**2
    target[:, :, -1] = nearest
