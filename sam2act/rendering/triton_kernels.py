"""Triton kernels of the renderer and of the 3-D arg-max; launched by `splat_triton`.

Launch with `enable_fp_fusion=False`: contracted multiply-adds round otherwise than the torch path.
The kernels run on a GPU, and in Triton's interpreter (TRITON_INTERPRET=1) on a CPU.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton decides when a kernel is defined

try:  # without the extra this file can be imported, but nothing in it launched
    import triton
    import triton.language as tl

    jit = triton.jit
except ImportError:

    def jit(function: Any) -> Any:
        """Leaves the kernel as it is."""
        return function


def on_its_device(launch: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Makes the GPU of the first tensor passed current, since kernels run on the current one."""

    @functools.wraps(launch)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensor = next(argument for argument in args if isinstance(argument, Tensor))
        with torch.cuda.device_of(tensor):
            return launch(*args, **kwargs)

    return guarded


@jit
def find_largest(points, valid, largest_bits, count, HAS_VALID: tl.constexpr, BLOCK: tl.constexpr):
    """Bits of the largest absolute coordinate per sample; grid (blocks of points, B).

    Bits of non-negative floats have the order of the floats, so an integer maximum serves.
    """
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sample = tl.program_id(1).to(tl.int64)
    exists = number < count
    at = points + (sample * count + number) * 3
    x = tl.abs(tl.load(at, mask=exists, other=0.0))
    y = tl.abs(tl.load(at + 1, mask=exists, other=0.0))
    z = tl.abs(tl.load(at + 2, mask=exists, other=0.0))
    exists = exists & (x < float("inf")) & (y < float("inf")) & (z < float("inf"))
    if HAS_VALID:
        exists = exists & (tl.load(valid + sample * count + number, mask=exists, other=0) != 0)
    size = tl.where(exists, tl.maximum(tl.maximum(x, y), z), 0.0)
    tl.atomic_max(largest_bits + sample, tl.max(size, 0).to(tl.int32, bitcast=True))


@jit
def fill_buffer(  # noqa: PLR0913 (a kernel has no structures)
    points,
    valid,
    axes,
    offsets,
    buffer,
    count,
    FAR_LIMIT: tl.constexpr,
    SIZE: tl.constexpr,
    VIEWS: tl.constexpr,
    HAS_VALID: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Least `depth steps << 32 | point` per pixel of every view; grid (blocks of points, B).

    axes (V, 6) holds the axis and the sign of column, row and depth, offsets (V,) of the depth.
    """
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sample = tl.program_id(1).to(tl.int64)
    exists = number < count
    at = points + (sample * count + number) * 3
    x = tl.load(at, mask=exists, other=0.0)
    y = tl.load(at + 1, mask=exists, other=0.0)
    z = tl.load(at + 2, mask=exists, other=0.0)
    exists = exists & (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))
    exists = exists & (tl.abs(z) < float("inf"))
    if HAS_VALID:
        exists = exists & (tl.load(valid + sample * count + number, mask=exists, other=0) != 0)
    half = 0.5 * SIZE
    for v in range(VIEWS):
        view = axes + 6 * v
        u = signed_pixel(pick(x, y, z, tl.load(view)), tl.load(view + 1), half)
        w = signed_pixel(pick(x, y, z, tl.load(view + 2)), tl.load(view + 3), half)
        along = pick(x, y, z, tl.load(view + 4))
        offset = tl.load(offsets + v)
        depth = tl.where(tl.load(view + 5) > 0, along + offset, offset - along)
        steps = tl.minimum(tl.maximum(depth * 1000.0, 0.0), FAR_LIMIT).to(tl.int64)
        inside = exists & (u >= 0) & (u < SIZE) & (w >= 0) & (w < SIZE)
        # Points without a pixel may have coordinates beyond any integer.
        column = tl.where(inside, u, 0.0).to(tl.int32)
        row = tl.where(inside, w, 0.0).to(tl.int32)
        place = (sample * VIEWS + v) * SIZE * SIZE + row * SIZE + column
        key = (steps << 32) | number.to(tl.int64)
        tl.atomic_min(buffer + place, key, mask=inside, sem="relaxed")


@jit
def pick(x, y, z, axis):
    """The coordinate of number `axis`."""
    return tl.where(axis == 0, x, tl.where(axis == 1, y, z))


@jit
def signed_pixel(value, sign, half):
    """Continuous pixel coordinate of a cube coordinate."""
    scaled = value * half
    return tl.where(sign > 0, scaled + half, half - scaled)


@jit
def resolve_and_pack(  # noqa: PLR0913 (a kernel has no structures)
    points,
    features,
    divisor,
    buffer,
    neighbours,
    out,
    count,
    sample_stride,
    view_stride,
    plane,
    EMPTY: tl.constexpr,
    SIZE: tl.constexpr,
    VIEWS: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Nearest point of the neighbourhood, its channels and depth; grid (blocks of pixels, B * V).

    neighbours (K, 2): column and row offsets in the order in which ties are resolved.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    image = tl.program_id(1).to(tl.int64)
    sample = image // VIEWS
    exists = pixel < SIZE * SIZE
    row, column = pixel // SIZE, pixel % SIZE
    here = buffer + image * SIZE * SIZE + pixel
    best = tl.load(here, mask=exists, other=EMPTY)
    steps = best >> 32
    for k in range(NEIGHBOURS):
        dx, dy = tl.load(neighbours + 2 * k), tl.load(neighbours + 2 * k + 1)
        inside = (column + dx >= 0) & (column + dx < SIZE) & (row + dy >= 0) & (row + dy < SIZE)
        near = tl.load(here + dy * SIZE + dx, mask=exists & inside, other=EMPTY)
        near_steps = near >> 32
        take = (near != EMPTY) & (near_steps > 0) & (near_steps <= steps)
        best, steps = tl.where(take, near, best), tl.where(take, near_steps, steps)
    hit = exists & (best != EMPTY)
    point = sample * count + (best & 0xFFFFFFFF)
    target = out + sample * sample_stride + (image % VIEWS) * view_stride + pixel
    if POSITIONS:
        largest = tl.load(divisor + sample)
        for c in tl.static_range(3):
            value = tl.load(points + 3 * point + c, mask=hit, other=0.0)
            tl.store(target, tl.div_rn(value, largest), mask=exists)
            target += plane
    for c in tl.static_range(CHANNELS):
        value = tl.load(features + CHANNELS * point + c, mask=hit, other=0.0)
        tl.store(target, value, mask=exists)
        target += plane
    tl.store(target, tl.where(hit, steps.to(tl.float32) * 0.001, -1.0), mask=exists)


@jit
def center_image(depth, sample_stride, view_stride, PIXELS: tl.constexpr, VIEWS: tl.constexpr,
                 BLOCK: tl.constexpr):  # fmt: skip
    """Subtract the mean depth of an image from its pixels that are not empty; grid (B * V,)."""
    image = tl.program_id(0).to(tl.int64)
    first = depth + (image // VIEWS) * sample_stride + (image % VIEWS) * view_stride
    sums, counts = tl.zeros([BLOCK], tl.float64), tl.zeros([BLOCK], tl.int32)
    for start in range(0, PIXELS, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        value = tl.load(first + pixel, mask=pixel < PIXELS, other=-1.0)
        sums += tl.where(value < 0, 0.0, value).to(tl.float64)
        counts += (value >= 0).to(tl.int32)
    mean = (tl.sum(sums, 0) / tl.maximum(tl.sum(counts, 0), 1)).to(tl.float32)
    for start in range(0, PIXELS, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        value = tl.load(first + pixel, mask=pixel < PIXELS, other=-1.0)
        tl.store(first + pixel, value - mean, mask=value >= 0)


@jit
def sample_tables(heat, weights, axes, tables, SIZE: tl.constexpr, VIEWS: tl.constexpr,
                  BLOCK: tl.constexpr):  # fmt: skip
    """Heat maps sampled at all pairs of grid coordinates; grid (blocks of pairs, B * V).

    weights (4, S - 1, S - 1) of the corners; axes (V, 3): sign of column and row, and whether the
    column is the first grid axis. See `grid_argmax.view_tables`.
    """
    pair = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    image = tl.program_id(1).to(tl.int64)
    exists = pair < SIZE * SIZE
    view = axes + 3 * (image % VIEWS)
    column_first = tl.load(view + 2) != 0
    column = tl.where(column_first, pair // SIZE, pair % SIZE)
    row = tl.where(column_first, pair % SIZE, pair // SIZE)
    column = tl.where(tl.load(view) > 0, column, SIZE - 1 - column)
    row = tl.where(tl.load(view + 1) > 0, row, SIZE - 1 - row)
    inside = exists & (column < SIZE - 1) & (row < SIZE - 1)
    corner = heat + image * SIZE * SIZE + row * SIZE + column
    weight = weights + row * (SIZE - 1) + column
    total = tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(4):  # (row, column) + (0, 0), (1, 0), (0, 1), (1, 1)
        value = tl.load(corner + (i % 2) * SIZE + i // 2, mask=inside, other=0.0)
        share = tl.load(weight + i * (SIZE - 1) * (SIZE - 1), mask=inside, other=0.0)
        total += value * share
    tl.store(tables + image * SIZE * SIZE + pair, total, mask=exists)


@jit
def best_of_column(tables, keys, SIZE: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_Z: tl.constexpr):
    """Greatest `score bits << 32 | ~index` over (y, z) for one x; grid (S, B).

    score[x, y, z] = (first[x, y] + second[y, z]) + third[x, z], tables (B, 3, S, S) not negative.
    """
    x = tl.program_id(0)
    first = tables + tl.program_id(1).to(tl.int64) * 3 * SIZE * SIZE
    second, third = first + SIZE * SIZE, first + 2 * SIZE * SIZE
    z = tl.arange(0, BLOCK_Z)
    along_z = tl.load(third + x * SIZE + z, mask=z < SIZE, other=0.0)
    best = tl.zeros([BLOCK_Y], tl.int64)
    for start in range(0, SIZE, BLOCK_Y):
        y = start + tl.arange(0, BLOCK_Y)
        inside = (y < SIZE)[:, None] & (z < SIZE)[None, :]
        along_y = tl.load(first + x * SIZE + y, mask=y < SIZE, other=0.0)
        surface = tl.load(second + y[:, None] * SIZE + z[None, :], mask=inside, other=0.0)
        scores = (along_y[:, None] + surface) + along_z[None, :]
        index = (x * SIZE + y[:, None]) * SIZE + z[None, :]
        key = (scores.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (0x7FFFFFFF - index)
        best = tl.maximum(best, tl.max(tl.where(inside, key, 0), 1))
    tl.atomic_max(keys + tl.program_id(1), tl.max(best, 0))
