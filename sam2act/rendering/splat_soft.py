"""Soft point splatting in plain torch: the renderer of RVT (`use_point_renderer: False`).

Points are discs. A pixel shows the mean of the five nearest points that cover its centre, weighted
by 1 - (distance / radius)^2, and the depth of the nearest one. This is PyTorch3D's rasteriser of
points with its norm-weighted compositor, which `splat_pytorch3d.py` calls for comparison.

B batch, V view, M = B * V image, N point, C feature channel, K points per pixel, S image side in
pixels, Q table row.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.rendering.scene import Clouds, Screen
from sam2act.rendering.splat_torch import (
    BACKGROUND_DEPTH,
    EMPTY_KEY,
    center_depth,
    largest_coordinate,
)
from sam2act.rendering.views import project, view_depth

__all__ = [
    "Fragments",
    "center_depth",
    "compose",
    "draw",
    "largest_coordinate",
    "rescale",
    "screen_points",
    "with_background",
]

POINTS_PER_PIXEL = 5
LEAST_WEIGHT = 1e-4  # PyTorch3D divides by the sum of weights, or by this if it is less
CHUNK = 2**21  # pairs of a point and a pixel that are held at a time


class Fragments(NamedTuple):
    """The nearest points of every pixel, nearest first."""

    index: Tensor  # type: ignore[assignment]  # (M, S, S, K) int64, row of a table; -1 = none
    depth: Tensor  # (M, S, S) of the nearest one, -1 = none
    distance: Tensor  # (M, S, S, K) squared, from the pixel's centre, in cube units


def draw(clouds: Clouds, screen: Screen, out: Tensor) -> None:
    """As `splat_torch.draw`, but soft; points behind a camera are left out."""
    batch, count = clouds.points.shape[:2]
    views = len(screen.views)
    positions = screen_points(clouds.points, screen).transpose(1, 2).flatten(0, 1)  # (M, N, 3)
    seen = torch.isfinite(positions).all(dim=-1) & (positions[..., 2] >= 0)
    seen &= torch.isfinite(clouds.points).all(dim=-1).repeat_interleave(views, dim=0)
    if clouds.valid is not None:
        seen &= clouds.valid.repeat_interleave(views, dim=0)
    table = with_background(clouds.drawn_features().flatten(0, 1))
    pairs = max(count * _window(screen) ** 2, POINTS_PER_PIXEL * screen.size**2)  # of an image
    step = max(1, CHUNK // pairs)
    for start in range(0, batch * views, step):
        part = slice(start, start + step)
        images = torch.arange(batch * views, device=table.device)[part]
        found = _nearest(positions[part], seen[part], screen)
        rows = found.index + (images // views * count)[:, None, None, None]
        fragments = found._replace(index=rows.where(found.index >= 0, -1))
        compose(fragments, table, screen.radius, out, images)
    rescale(out[:, :, :-1])


def compose(
    fragments: Fragments, table: Tensor, radius: float, out: Tensor, images: Tensor
) -> None:
    """Writes the weighted means and the depths of M images into `out`.

    Args:
        fragments: of the M images.
        table: (Q, C) features that the fragments index, from `with_background`.
        radius: of a disc, in cube units.
        out: (B, V, C + 1, S, S); changed in place.
        images: (M,) which of the B * V images these are.
    """
    index, depth, distance = fragments
    weight = (1 - distance / radius**2).where(index >= 0, 0)
    weight = weight / weight.sum(dim=-1, keepdim=True).clamp(min=LEAST_WEIGHT)
    rows = index.where(index >= 0, len(table) - 1).flatten(0, 2)
    sums = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weight.flatten(0, 2))
    mean = sums.unflatten(0, depth.shape)
    sample, view = images // out.shape[1], images % out.shape[1]
    out[sample, view] = torch.cat([mean, depth[..., None]], dim=-1).movedim(-1, 1)


def with_background(features: Tensor) -> Tensor:
    """Features (Q, C) with a row of zeros behind them, for pixels without a point."""
    return F.pad(features, (0, 0, 0, 1))


def rescale(features: Tensor) -> None:
    """Divides the images (B, V, C, S, S) of a sample by their largest value if that exceeds 1."""
    largest = features.flatten(1).amax(dim=1) if features.numel() else features.new_ones(0)
    features /= largest.clamp(min=1)[:, None, None, None, None]


def screen_points(points: Tensor, screen: Screen) -> Tensor:
    """(B, N, V, 3) in PyTorch3D's screen frame: x to the left, y up, both in [-1, 1], and depth."""
    plane = 1 - project(points, screen.views, screen.size) * (2 / screen.size)
    return torch.cat([plane, view_depth(points, screen.views)[..., None]], dim=-1)


def _window(screen: Screen) -> int:
    """Pixel centres per axis that a disc can cover."""
    return math.floor(screen.radius * screen.size) + 1


def _nearest(positions: Tensor, seen: Tensor, screen: Screen) -> Fragments:
    """The nearest points of every pixel, as indices into the N points of its image.

    Of equally near points those of lower index come first.

    Args:
        positions: (M, N, 3) of `screen_points`.
        seen: (M, N) the points to draw.
        screen: its size and radius.
    """
    images, size = len(positions), screen.size
    slot, key = _covered_pixels(positions, seen, screen)
    layers = []
    for _ in range(POINTS_PER_PIXEL):  # each pass takes the nearest that is left
        best = key.new_full((images * size * size,), EMPTY_KEY)
        best.scatter_reduce_(0, slot, key, "amin")
        key = key.masked_fill(key == best[slot], EMPTY_KEY)
        layers.append(best)
    keys = torch.stack(layers, dim=-1).view(images, size, size, POINTS_PER_PIXEL)
    empty = keys == EMPTY_KEY
    index = (keys & 0xFFFFFFFF).masked_fill(empty, -1)
    depth = (keys[..., 0] >> 32).to(torch.int32).view(torch.float32)
    depth = depth.masked_fill(empty[..., 0], BACKGROUND_DEPTH)
    return Fragments(index, depth, _squared_distances(positions, index, screen))


def _squared_distances(positions: Tensor, index: Tensor, screen: Screen) -> Tensor:
    """(M, S, S, K) from the centres of the pixels to the points `index` of their images."""
    if not positions.shape[1]:
        return torch.zeros_like(index, dtype=positions.dtype)
    centers = _pixel_centers(screen.size, positions.device)
    rows = index.clamp(min=0).flatten(1)
    across, down = (positions[..., axis].gather(1, rows).view(index.shape) for axis in (0, 1))
    return (centers[:, None] - across) ** 2 + (centers[:, None, None] - down) ** 2


def _pixel_centers(size: int, device: torch.device) -> Tensor:
    """(S,) screen coordinates of the centres of columns (x) and rows (y)."""
    return 1 - (2 * torch.arange(size, device=device) + 1) / size


def _covered_pixels(positions: Tensor, seen: Tensor, screen: Screen) -> tuple[Tensor, Tensor]:
    """All pairs of a pixel and a point whose disc covers the pixel's centre.

    Returns:
        slot (P,): flat number of the pixel among M images; key (P,): `depth bits << 32 | index of
        the point`, which orders by depth, then by index.
    """
    size, radius = screen.size, screen.radius
    margin = 1 + 2 * radius
    seen = seen & (positions[..., :2].abs() <= margin).all(dim=-1)
    image, point = seen.nonzero().unbind(1)
    across, down, depth = positions[image, point].T.contiguous()
    plane = torch.stack([across, down])
    # Centre c of a column lies at 1 - (2 c + 1) / S; `first` is the first one within the radius,
    # or one before it, since coordinates are rounded.
    first = torch.ceil(((1 - plane - radius) * size - 1) / 2 - 1e-3).to(torch.int64)
    window = torch.arange(_window(screen) + 1, device=plane.device)
    pixel = first[:, None] + window[:, None]  # (2, W, points)
    apart = (1 - (2 * pixel + 1) / size - plane[:, None]) ** 2
    apart = apart.masked_fill((pixel < 0) | (pixel >= size), torch.inf)
    covered = apart[0, :, None] + apart[1] < radius**2  # (column, row, points)
    column, row, which = covered.nonzero().unbind(1)
    slot = (image[which] * size + first[1, which] + row) * size + first[0, which] + column
    key = (depth.view(torch.int32).to(torch.int64) << 32) | point
    return slot, key[which]
