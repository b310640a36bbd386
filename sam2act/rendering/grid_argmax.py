"""The point of a regular 3-D grid that the heat maps of all views support most.

The grid has S points per axis, `linspace(-1 + 1/S, 1 - 1/S, S)`, with flat index
`(ix * S + iy) * S + iz`. The score of a grid point is the mean over views of the heat maps
sampled where the point projects to (`heatmaps.sample_inverse_distance`). Since each view depends
on two of the three coordinates, the S^3 scores are sums of S x S tables: nothing is sampled S^3
times. Both methods give the exact arg-max of the sums, ties to the lowest index. No gradients.

B batch, V view, S grid and image side.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sam2act.rendering import argmax_triton
from sam2act.rendering.backends import works
from sam2act.rendering.heatmaps import DISTANCE_FLOOR
from sam2act.rendering.views import View

CHUNK = 2**23  # scores held at a time
SUPPRESSED = -1.0
PUBLISHED_AXES = ((0, 1), (1, 2), (0, 2))  # the pairs of grid axes that three views see


class GridPeak(NamedTuple):
    """The best grid point of each sample."""

    point: Tensor  # (B, 3) float32, cube frame
    index: Tensor  # type: ignore[assignment]  # (B,) int64, flat; hides tuple.index on purpose
    score: Tensor  # (B,) float32, mean over views


@torch.no_grad()
def grid_argmax(
    heat: Tensor, views: Sequence[View], method: str = "auto", *, shift: float = 0.0
) -> GridPeak:
    """The grid point of highest score.

    Args:
        heat: (B, V, S, S) heat maps in the order of `views`.
        views: V views.
        method: "dense" evaluates all scores; "pruned" only columns of the grid that can hold the
            maximum, which is fast on a CPU but has data-dependent shapes; "triton" is the dense
            one in two kernels, for the three published views; "auto" takes the fastest that works,
            inside compilation "dense".
        shift: pixels, in [0, 0.5), that are taken off projected coordinates before maps are read
            there (quirk R12: 1 / S with the soft renderer).

    Returns:
        `GridPeak`.

    Raises:
        ValueError: unknown method, or heat maps that do not fit the views.
    """
    _check_heat(heat, views)
    if method == "auto":
        method = _fastest_method(heat, views, shift)
    if method == "dense":
        score, index = _dense(view_tables(heat, views, shift), views)
    elif method == "pruned":
        score, index = _pruned(view_tables(heat, views, shift), views)
    elif method == "triton":
        score, index = _with_triton(heat, views, shift)
    else:
        raise ValueError(
            f"grid arg-max method {method!r} is not one of auto, dense, pruned, triton"
        )
    return GridPeak(grid_points(index, heat.shape[-1]), index, score / len(views))


@torch.no_grad()
def grid_top_k(
    heat: Tensor, views: Sequence[View], k: int, suppression_distance: float | None = None
) -> GridPeak:
    """The k best grid points, best first; holds all B * S^3 scores in memory.

    Args:
        heat: (B, V, S, S).
        views: V views.
        k: number of points.
        suppression_distance: after each pick, points nearer than this (cube units) are given the
            score -1; None excludes only the pick itself.

    Returns:
        `GridPeak` with points (B, k, 3), indices (B, k) and scores (B, k).
    """
    _check_heat(heat, views)
    size = heat.shape[-1]
    scores = _scores(view_tables(heat, views), views, slice(None)).flatten(1) / len(views)
    axis = _grid_axis(size, heat.device)
    picks, values = [], []
    for _ in range(k):
        index = scores.argmax(dim=1, keepdim=True)
        picks.append(index)
        values.append(scores.gather(1, index))
        if suppression_distance is None:
            scores = scores.scatter(1, index, SUPPRESSED)
        else:
            point = grid_points(index[:, 0], size)
            x, y, z = ((axis - point[:, i : i + 1]) ** 2 for i in range(3))
            squared = x[:, :, None, None] + y[:, None, :, None] + z[:, None, None, :]
            near = squared.sqrt().flatten(1) < suppression_distance
            scores = scores.masked_fill(near, SUPPRESSED)
    chosen = torch.cat(picks, dim=1)
    return GridPeak(grid_points(chosen, size), chosen, torch.cat(values, dim=1))


def grid_points(index: Tensor, size: int) -> Tensor:
    """Cube coordinates (..., 3) float32 of flat grid indices (...)."""
    axis = _grid_axis(size, index.device)
    parts = (index // size**2, index // size % size, index % size)
    return axis[torch.stack(parts, dim=-1)]


def view_tables(heat: Tensor, views: Sequence[View], shift: float = 0.0) -> Tensor:
    """Sampled value of every view at all pairs of grid coordinates that it sees.

    Grid coordinate i projects into the block of the pixels i and i + 1 (counted from the other
    end along a falling image axis), so sampling is a weighted sum of four shifted heat maps. The
    last block would reach beyond the image and gives 0 (quirk R11 of the renderer).

    Args:
        heat: (B, V, S, S), (row, column).
        views: V views.
        shift: pixels that are taken off projected coordinates.

    Returns:
        (B, V, S, S) float32; axes are the two grid axes of the view in the order x, y, z.
    """
    heat = heat.to(torch.float32)
    weights = _corner_weights(heat.shape[-1], heat.device, shift)
    first, second = slice(None, -1), slice(1, None)
    spans = ((first, first), (second, first), (first, second), (second, second))  # rows, columns
    parts = [heat[..., r, c] * weights[i] for i, (r, c) in enumerate(spans)]
    blocks = ((parts[0] + parts[1]) + parts[2]) + parts[3]  # the published order
    blocks = torch.nn.functional.pad(blocks, (0, 1, 0, 1))
    return torch.stack([_to_grid_axes(blocks[:, i], view) for i, view in enumerate(views)], dim=1)


def _corner_weights(size: int, device: torch.device, shift: float = 0.0) -> Tensor:
    """(4, S-1, S-1) sampling weights of the corners of each block of pixels, (row, column).

    The published roundings are kept: without a shift the weights differ from 1/4 by up to 2e-5.
    """
    axis = _grid_axis(size, device)
    pixel = (axis * (size / 2) + size / 2)[:-1] - shift
    low = torch.arange(size - 1, device=device, dtype=torch.float32)
    before, after = (pixel - low) ** 2, (pixel - (low + 1)) ** 2
    # Corner order of `heatmaps.corners`: the column changes last.
    squared = torch.stack(
        [
            before + before[:, None],
            before + after[:, None],
            after + before[:, None],
            after + after[:, None],
        ]
    )
    share = 1 / (squared.sqrt() + DISTANCE_FLOOR)
    return share / share.sum(dim=0)


def _grid_axis(size: int, device: torch.device) -> Tensor:
    return torch.linspace(-1 + 1 / size, 1 - 1 / size, size, device=device, dtype=torch.float32)


def _to_grid_axes(blocks: Tensor, view: View) -> Tensor:
    """(B, S, S) with pixel blocks (row, column) turned into grid indices in the order x, y, z."""
    signs = ((view.row_sign, 1), (view.column_sign, 2))
    falling = [dim for sign, dim in signs if sign < 0]
    table = blocks.flip(falling) if falling else blocks
    return table.transpose(1, 2) if view.column_axis < view.row_axis else table


def _grid_axes(view: View) -> tuple[int, int]:
    first, second = sorted((view.column_axis, view.row_axis))
    return first, second


def _scores(tables: Tensor, views: Sequence[View], xs: slice) -> Tensor:
    """Sum over views (B, X, S, S), in view order, for the x indices `xs`."""
    total: Tensor | None = None
    for i, view in enumerate(views):
        first, second = _grid_axes(view)
        missing = 3 - first - second
        table = tables[:, i, xs] if first == 0 else tables[:, i]
        table = table.unsqueeze(1 + missing)
        total = table if total is None else total + table
    assert total is not None
    size = tables.shape[-1]
    return total.expand(-1, len(range(size)[xs]), size, size)


def _dense(tables: Tensor, views: Sequence[View]) -> tuple[Tensor, Tensor]:
    """Sum and flat index of the maximum, chunk by chunk along x."""
    batch, _, size, _ = tables.shape
    step = max(1, CHUNK // (batch * size**2))
    best = index = None
    for start in range(0, size, step):
        chunk = _scores(tables, views, slice(start, start + step)).flatten(1)
        here = chunk.argmax(dim=1, keepdim=True)
        value, here = chunk.gather(1, here), here + start * size**2
        if best is None or index is None:
            best, index = value, here
        else:  # an equal value of a later chunk has a higher index
            better = value > best
            best, index = torch.where(better, value, best), torch.where(better, here, index)
    assert best is not None and index is not None
    return best[:, 0], index[:, 0]


def _pruned(tables: Tensor, views: Sequence[View]) -> tuple[Tensor, Tensor]:
    """As `_dense`, evaluating only grid columns (x, y, :) whose upper bound can win.

    The bound adds the largest entries along z in the order of the sum itself; rounding is
    monotone, so it bounds the rounded sums.
    """
    batch, _, size, _ = tables.shape
    bound = _column_bounds(tables, views)
    sample = torch.arange(batch, device=tables.device)
    top = bound.flatten(1).argmax(dim=1)
    threshold = _columns(tables, views, sample, top // size, top % size).amax(dim=1)
    candidates = (~(bound < threshold[:, None, None])).nonzero()
    values, places = [], []
    for rows in candidates.split(max(1, CHUNK // size)):
        columns = _columns(tables, views, *rows.unbind(1))
        z = columns.argmax(dim=1)
        values.append(columns.gather(1, z[:, None])[:, 0])
        places.append((rows[:, 1] * size + rows[:, 2]) * size + z)
    value, place, owner = torch.cat(values), torch.cat(places), candidates[:, 0]
    best = value.new_full((batch,), -torch.inf).scatter_reduce(0, owner, value, "amax")
    beyond = size**3  # larger than every index
    place = place.masked_fill(value != best[owner], beyond)
    index = place.new_full((batch,), beyond).scatter_reduce(0, owner, place, "amin")
    return best, index.masked_fill(index == beyond, 0)  # only NaN scores leave no index


def _columns(tables: Tensor, views: Sequence[View], sample: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sums (M, S) over z of the M grid columns (sample, x, y)."""
    axes = (x, y)
    total: Tensor | None = None
    for i, view in enumerate(views):
        first, second = _grid_axes(view)
        if second == 2:
            part = tables[sample, i, axes[first]]
        else:
            part = tables[sample, i, x, y][:, None]
        total = part if total is None else total + part
    assert total is not None
    return total.expand(-1, tables.shape[-1])


def _column_bounds(tables: Tensor, views: Sequence[View]) -> Tensor:
    """(B, S, S) upper bounds of the sums in the grid columns (x, y, :)."""
    total: Tensor | None = None
    for i, view in enumerate(views):
        first, second = _grid_axes(view)
        part = tables[:, i]
        if second == 2:
            part = part.amax(dim=-1).unsqueeze(2 - first)
        total = part if total is None else total + part
    assert total is not None
    size = tables.shape[-1]
    return total.expand(-1, size, size)


def _fastest_method(heat: Tensor, views: Sequence[View], shift: float) -> str:
    if torch.compiler.is_compiling():
        return "dense"
    if heat.device.type == "cpu":
        return "pruned"
    fits = _grid_axes_of_all(views) == PUBLISHED_AXES and not shift
    return "triton" if fits and works("triton", heat.device.type) else "dense"


def _with_triton(heat: Tensor, views: Sequence[View], shift: float) -> tuple[Tensor, Tensor]:
    if _grid_axes_of_all(views) != PUBLISHED_AXES or shift:
        raise ValueError("grid arg-max method 'triton' is for the views top, front and right")
    weights = _cached_corner_weights(heat.shape[-1], heat.device)
    return argmax_triton.best_sum(argmax_triton.view_tables(heat, weights, views))


@functools.lru_cache(maxsize=8)
def _cached_corner_weights(size: int, device: torch.device) -> Tensor:
    return _corner_weights(size, device)


def _grid_axes_of_all(views: Sequence[View]) -> tuple[tuple[int, int], ...]:
    return tuple(_grid_axes(view) for view in views)


def _check_heat(heat: Tensor, views: Sequence[View]) -> None:
    if heat.dim() != 4 or heat.shape[1] != len(views) or heat.shape[2] != heat.shape[3]:
        raise ValueError(
            f"heat maps {tuple(heat.shape)} must be (B, {len(views)}, S, S), one per view"
        )
