"""Point splatting in plain torch: the definition that the other backends are tested against.

A z-buffer pass keeps one point per pixel; a resolve pass lets points cover their neighbours.
B batch, V view, N point, C feature channel, S image side in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.rendering.scene import Clouds, Screen
from sam2act.rendering.views import View, project, view_depth

DEPTH_UNITS = 1000.0  # depth steps per cube unit (quirk R3 of the renderer)
DEPTH_STEP = 0.001  # cube units
BACKGROUND_DEPTH = -1.0
FAR_LIMIT = 2.0**31 - 256  # largest depth in steps; a float32 below the code of "empty"
EMPTY_DEPTH = 2**31 - 1  # depth code of an empty pixel inside this module
EMPTY_KEY = 2**63 - 1
WIDEST_SPLAT = 25  # pixels to each side


def rasterize(
    points: Tensor, valid: Tensor | None, views: Sequence[View], size: int, radius: float
) -> tuple[Tensor, Tensor]:
    """Which point each pixel shows, and how far away it is.

    Points with a non-finite coordinate are invisible in every view. Nothing is cut off in depth:
    points behind a camera count as depth 0 and win (quirk R2). Points of one pixel with equal
    depth in steps: the lowest index wins.

    Args:
        points: (B, N, 3) float32, cube frame.
        valid: (B, N) bool, points to draw; None = all.
        views: V views.
        size: image side S.
        radius: splat radius in cube units.

    Returns:
        index (B, V, S, S) int64 into the N points, -1 where empty;
        depth (B, V, S, S) int64 in 1/1000 cube units, -1 where empty.
    """
    index, depth = spread(z_buffer(points, valid, views, size), splat_offsets(radius, size))
    empty = depth == EMPTY_DEPTH
    return index.to(torch.int64), depth.to(torch.int64).masked_fill(empty, -1)


def z_buffer(points: Tensor, valid: Tensor | None, views: Sequence[View], size: int) -> Tensor:
    """(B, V, S, S) int64: the least `depth steps << 32 | point index` per pixel, or `EMPTY_KEY`."""
    points = points.to(torch.float32)
    batch, count = points.shape[:2]
    pixel = project(points, views, size)  # (B, N, V, 2)
    visible = torch.isfinite(points).all(dim=-1)
    if valid is not None:
        visible = visible & valid
    inside = ((pixel >= 0) & (pixel < size)).all(dim=-1) & visible[..., None]
    column, row = pixel.to(torch.int64).unbind(-1)
    order = torch.arange(count, device=points.device)
    steps = (view_depth(points, views) * DEPTH_UNITS).clamp(0, FAR_LIMIT).to(torch.int64)
    keys = (steps << 32) | order[:, None]
    image = torch.arange(batch * len(views), device=points.device).view(batch, 1, len(views))
    total = batch * len(views) * size * size
    # Points without a pixel go to slots of their own behind the images: neither the shapes
    # depend on the data nor do all these points queue for one slot.
    slots = torch.where(inside, (image * size + row) * size + column, total + order[:, None])
    buffer = keys.new_full((total + count,), EMPTY_KEY)
    buffer = buffer.scatter_reduce(0, slots.flatten(), keys.flatten(), "amin")
    return buffer[:total].view(batch, len(views), size, size)


def splat_offsets(radius: float, size: int) -> tuple[tuple[int, int], ...]:
    """The (column, row) offsets that a point covers, in the order in which ties are resolved."""
    reach = _float32(size / 2 * _float32(radius))
    half = min(math.ceil(size / 2 * radius), WIDEST_SPLAT)
    window = range(-half, half + 1)
    return tuple((dx, dy) for dx in window for dy in window if math.hypot(dx, dy) < reach)


def spread(keys: Tensor, offsets: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Lets every pixel take over the nearest point of its neighbourhood.

    Of equally near points the last visited wins, which moves surfaces that face the camera by one
    pixel (quirk R5). Depth 0 neither spreads nor is covered (quirk R4).

    Args:
        keys: (B, V, S, S) of `z_buffer`.
        offsets: neighbours (column, row) in visiting order.

    Returns:
        point index (-1 where empty) and depth steps (`EMPTY_DEPTH` where empty), int32.
    """
    size = keys.shape[-1]
    empty = keys == EMPTY_KEY
    depth = (keys >> 32).to(torch.int32).masked_fill(empty, EMPTY_DEPTH)
    index = (keys & 0xFFFFFFFF).to(torch.int32).masked_fill(empty, -1)
    # Pixels that do not spread look empty to their neighbours. An empty neighbour may be
    # "taken" by an empty pixel, which changes nothing.
    still = depth == 0
    margin = max(max(abs(dx), abs(dy)) for dx, dy in offsets)
    around = (margin,) * 4
    far_depth = F.pad(depth.masked_fill(still, EMPTY_DEPTH), around, value=EMPTY_DEPTH)
    far_index = F.pad(index.masked_fill(still, -1), around, value=-1)
    for dx, dy in offsets:  # a handful of offsets, fixed by radius and size
        rows = slice(margin + dy, margin + dy + size)
        columns = slice(margin + dx, margin + dx + size)
        neighbour = far_depth[..., rows, columns]
        take = neighbour <= depth
        depth = torch.where(take, neighbour, depth)
        index = torch.where(take, far_index[..., rows, columns], index)
    return index, depth


def draw(clouds: Clouds, screen: Screen, out: Tensor) -> None:
    """Draws images into `out`; every backend supplies this function.

    Args:
        out: (B, V, `clouds.channels`, S, S) float32; the last channel is the depth in cube units.
            Empty pixels are 0 with depth -1.
    """
    index, depth = rasterize(clouds.points, clouds.valid, screen.views, screen.size, screen.radius)
    table = F.pad(clouds.drawn_features().transpose(1, 2), (1, 0))  # column 0: the background
    batch, channels = table.shape[:2]
    picks = (index + 1).flatten(1)[:, None].expand(batch, channels, -1)
    picked = table.gather(2, picks).unflatten(2, index.shape[1:])
    out[:, :, :-1] = picked.transpose(1, 2)
    out[:, :, -1] = (depth.to(torch.float32) * DEPTH_STEP).masked_fill(depth < 0, BACKGROUND_DEPTH)


def largest_coordinate(points: Tensor, valid: Tensor | None) -> Tensor:
    """(B,): the largest absolute coordinate of the existing points; 1 for an empty cloud.

    Every backend supplies this function.
    """
    exists = torch.isfinite(points).all(dim=-1)
    if valid is not None:
        exists = exists & valid
    nothing = points.new_zeros(points.shape[0], 1)  # lets a cloud of no points have a maximum
    sizes = points.abs().amax(dim=-1).masked_fill(~exists, 0)
    largest = torch.cat([sizes, nothing], dim=1).amax(dim=1)
    return torch.where(largest > 0, largest, 1)


def center_depth(depth: Tensor) -> None:
    """Subtracts each view's mean from (B, V, S, S); the background stays -1 (quirk R7).

    Every backend supplies this function.
    """
    empty = depth < 0
    # The published mean sums the background along and takes it off again, all in float32. Of P
    # pixels, n of which show something, it is off by about 2^-22 P / n; so are published images.
    background = empty.sum(dim=(2, 3), keepdim=True)
    count = (depth.shape[-2] * depth.shape[-1] - background).clamp(min=1)
    mean = (depth.sum(dim=(2, 3), keepdim=True) + background) / count
    depth -= mean.masked_fill(empty, 0)


def _float32(value: float) -> float:
    """The float32 number nearest to a positive value, by arithmetic that needs no tensor."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2**24), exponent - 24)
