"""From a coloured point cloud in the unit cube to the images that the network reads.

B batch, V view, N point, C channel, S image side in pixels. Rendering has no gradients, is done
in float32 and is not affected by autocast.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from sam2act.rendering import splat_torch
from sam2act.rendering.splat_torch import rasterize
from sam2act.rendering.views import View

__all__ = ["append_pixel_location", "backend_names", "rasterize", "render", "render_features"]

DEPTH_STEP = 0.001  # cube units
BACKGROUND_DEPTH = -1.0
# Backends beside "torch": module that supplies `draw` with the signature of `splat_torch.draw`.
COMPILED_BACKENDS: MappingProxyType[str, str] = MappingProxyType({})


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
    backend: str = "torch",
) -> Tensor:
    """Images of a batch of clouds: position, colour and mean-centred depth.

    Args:
        points: (B, N, 3) cube frame; points outside the cube may hide others (quirk Q2).
        rgb: (B, N, 3) in [0, 1].
        valid: (B, N) bool, points that exist; None = all. Non-finite points never exist.
        views: V views.
        size: image side S.
        radius: splat radius in cube units (published: 0.012).
        normalize_xyz: divide positions by the largest coordinate of the cloud (`norm_corr`).
        antialias: sub-pixels per axis (published: 1).
        center_depth: subtract each view's mean depth.
        backend: "torch" or a compiled one.

    Returns:
        (B, V, 7, S, S) float32: xyz, rgb, depth. Empty pixels are 0 with depth -1.

    Raises:
        ValueError: unknown backend, or shapes that do not fit together.
    """
    _check_shapes(points, rgb, valid)
    points = points.to(torch.float32)
    xyz = points / _largest_coordinate(points, valid) if normalize_xyz else points
    return render_features(
        points,
        torch.cat([xyz, rgb.to(torch.float32)], dim=-1),
        valid,
        views=views,
        size=size,
        radius=radius,
        antialias=antialias,
        center_depth=center_depth,
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
    backend: str = "torch",
) -> Tensor:
    """As `render`, for any features (B, N, C); returns (B, V, C + 1, S, S) with depth last."""
    _check_shapes(points, features, valid)
    images, steps = _backend(backend)(
        points.to(torch.float32),
        features.to(torch.float32),
        valid,
        views=views,
        size=size * antialias,
        radius=radius,
    )
    if antialias > 1:
        images, steps = _merge_subpixels(images, steps, antialias)
    depth = _depth_image(steps, center_depth)
    return torch.cat([images, depth[:, :, None]], dim=2)


def append_pixel_location(images: Tensor) -> Tensor:
    """Images (B, V, C, S, S) with three constant channels more: view, row and column in [-1, 1]."""
    batch, views, _, height, width = images.shape

    def ramp(count: int, *shape: int) -> Tensor:
        line = torch.linspace(-1, 1, count, device=images.device, dtype=images.dtype)
        return line.view(shape).expand(batch, views, 1, height, width)

    location = [ramp(views, views, 1, 1, 1), ramp(height, height, 1), ramp(width, width)]
    return torch.cat([images, *location], dim=2)


def backend_names() -> tuple[str, ...]:
    """Values of the config key `renderer.backend`."""
    return ("torch", *COMPILED_BACKENDS)


def _backend(name: str) -> Callable[..., tuple[Tensor, Tensor]]:
    if name == "torch":
        return splat_torch.draw
    if name not in COMPILED_BACKENDS:
        raise ValueError(f"renderer.backend: {name!r} is not one of {', '.join(backend_names())}")
    return importlib.import_module(COMPILED_BACKENDS[name]).draw


def _check_shapes(points: Tensor, features: Tensor, valid: Tensor | None) -> None:
    cloud = points.shape[:2]
    if points.dim() != 3 or points.shape[2] != 3 or features.shape[:2] != cloud:
        raise ValueError(
            f"points {tuple(points.shape)} and features {tuple(features.shape)} must be "
            "(B, N, 3) and (B, N, C)"
        )
    if valid is not None and (valid.shape != cloud or valid.dtype != torch.bool):
        raise ValueError(
            f"valid must be a bool tensor {tuple(cloud)}, not {valid.dtype} {tuple(valid.shape)}"
        )


def _largest_coordinate(points: Tensor, valid: Tensor | None) -> Tensor:
    """(B, 1, 1): the largest absolute coordinate of the existing points; 1 for an empty cloud."""
    exists = torch.isfinite(points).all(dim=-1)
    if valid is not None:
        exists = exists & valid
    nothing = points.new_zeros(points.shape[0], 1)  # lets a cloud of no points have a maximum
    sizes = points.abs().amax(dim=-1).masked_fill(~exists, 0)
    largest = torch.cat([sizes, nothing], dim=1).amax(dim=1)
    return torch.where(largest > 0, largest, 1)[:, None, None]


def _depth_image(steps: Tensor, center: bool) -> Tensor:
    """Depth (B, V, S, S) in cube units of depth steps, background -1 (quirk Q7: no other mask)."""
    empty = steps < 0
    depth = (steps.to(torch.float32) * DEPTH_STEP).masked_fill(empty, BACKGROUND_DEPTH)
    if not center:
        return depth
    # The published mean sums the background along and takes it off again, all in float32. That
    # costs up to 1e-4 in nearly empty views, and equals the published images there.
    count = (~empty).sum(dim=(2, 3), keepdim=True).clamp(min=1)
    background = empty.sum(dim=(2, 3), keepdim=True)
    mean = (depth.sum(dim=(2, 3), keepdim=True) + background) / count
    return torch.where(empty, depth, depth - mean)


def _merge_subpixels(images: Tensor, steps: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Mean features and nearest depth of factor x factor sub-pixels.

    An empty sub-pixel resets the depth (quirk Q6), so only those visited after the last empty one
    count, and the pixel is empty if the last one is.
    """
    total, nearest = torch.zeros_like(images[..., ::factor, ::factor]), None
    for dx in range(factor):
        for dy in range(factor):
            total = total + images[..., dy::factor, dx::factor]
            part = steps[..., dy::factor, dx::factor]
            if nearest is None:
                nearest = part
            fresh = (part < 0) | (nearest < 0)
            nearest = torch.where(fresh, part, torch.minimum(nearest, part))
    assert nearest is not None
    return total / factor**2, nearest
