"""The virtual cameras around the unit cube and the projection of points onto them.

All cameras are orthographic and look along an axis, so a view is a choice of signed axes.
Pixel coordinates are (u, v) = (column, row), continuous, with -1 and +1 on the image border;
column u grows to the right, row v downwards, depth away from the camera.
V view, S image side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """`u = f * column_sign * p[column_axis] + f` with f = S / 2, likewise v, and
    `depth = depth_sign * p[depth_axis] + depth_offset` for a cube point p."""

    name: str
    column_axis: int
    column_sign: int
    row_axis: int
    row_sign: int
    depth_axis: int
    depth_sign: int
    depth_offset: float


# Quirk R1 of the renderer: the right camera stands inside the cube, at y = 0.5.
_ALL_VIEWS = (
    View("top", 0, 1, 1, -1, 2, -1, 1.0),
    View("front", 1, 1, 2, -1, 0, -1, 1.0),
    View("right", 0, -1, 2, -1, 1, -1, 0.5),
    View("back", 1, -1, 2, -1, 0, 1, 1.0),
    View("left", 0, 1, 2, -1, 1, 1, 1.0),
    View("down", 0, -1, 1, -1, 2, 1, 1.0),
)
VIEWS = MappingProxyType({view.name: view for view in _ALL_VIEWS})
THREE_VIEWS = tuple(VIEWS[name] for name in ("top", "front", "right"))
FIVE_VIEWS = tuple(VIEWS[name] for name in ("top", "front", "back", "left", "right"))
# The cameras of the soft renderer. The same names stand for other faces of the cube than above, and
# all cameras stand outside it.
SOFT_VIEWS = (
    VIEWS["top"],
    View("front", 0, -1, 2, -1, 1, -1, 1.0),
    View("back", 0, 1, 2, -1, 1, 1, 1.0),
    View("left", 1, 1, 2, -1, 0, -1, 1.0),
    View("right", 1, -1, 2, -1, 0, 1, 1.0),
)


def select_views(three_views: bool, *, soft: bool = False) -> tuple[View, ...]:
    """The views of `rend_three_views`: three as published, or five, of which the `soft` renderer
    has its own."""
    if three_views:
        return THREE_VIEWS
    return SOFT_VIEWS if soft else FIVE_VIEWS


def project(points: Tensor, views: Sequence[View], size: int) -> Tensor:
    """Pixel coordinates of cube points in every view; neither clipped nor shifted.

    Rounded as `fl(fl(f * p) + f)` in float32 under any autocast (quirk R9 of the renderer).

    Args:
        points: (..., 3) cube frame.
        views: V views.
        size: image side S in pixels.

    Returns:
        (..., V, 2) float32, (column, row).
    """
    return _pixels(points.to(torch.float32) * (size / 2), views, size)


def project_half(points: Tensor, views: Sequence[View], size: int) -> Tensor:
    """`project` with the fp16 roundings of published mixed-precision training (quirk R9).

    The point and the pixel coordinate are rounded to fp16, the sum between them is not. Errors
    reach about 0.1 px.

    Returns:
        (..., V, 2) float32, every value representable in fp16.
    """
    half_points = points.to(torch.float16).to(torch.float32)
    return _pixels(half_points * (size / 2), views, size).to(torch.float16).to(torch.float32)


def view_depth(points: Tensor, views: Sequence[View]) -> Tensor:
    """Depth (..., V) in cube units of cube points (..., 3); negative behind the camera."""
    axes = points.unbind(-1)
    depths = [
        axes[view.depth_axis] + view.depth_offset
        if view.depth_sign > 0
        else view.depth_offset - axes[view.depth_axis]
        for view in views
    ]
    return torch.stack(depths, dim=-1)


def _pixels(scaled: Tensor, views: Sequence[View], size: int) -> Tensor:
    """Pixel coordinates of points scaled by f: both signs are computed once and then picked."""
    along = {1: (scaled + size / 2).unbind(-1), -1: (size / 2 - scaled).unbind(-1)}
    picked = []
    for view in views:
        picked.append(along[view.column_sign][view.column_axis])
        picked.append(along[view.row_sign][view.row_axis])
    pixels: Tensor = torch.stack(picked, dim=-1).unflatten(-1, (len(views), 2))
    return pixels
