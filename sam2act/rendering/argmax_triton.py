"""The dense 3-D arg-max of three views in Triton; equals `grid_argmax` with method "dense".

B batch, V view, S grid and image side.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from sam2act.rendering import triton_kernels as kernels
from sam2act.rendering.views import View

PAIRS_PER_BLOCK = 512
ROWS_PER_BLOCK = 8
LARGEST_INDEX = 0x7FFFFFFF  # the kernel stores what is missing from it
ROUNDING = {"enable_fp_fusion": False}


@kernels.on_its_device
def view_tables(heat: Tensor, weights: Tensor, views: Sequence[View]) -> Tensor:
    """See `grid_argmax.view_tables`.

    Args:
        heat: (B, V, S, S).
        weights: (4, S - 1, S - 1) of the corners of each block of pixels.
        views: V views.
    """
    heat = heat.to(torch.float32).contiguous()
    batch, count, size = heat.shape[:3]
    tables = torch.empty_like(heat)
    kernels.sample_tables[(-(-(size**2) // PAIRS_PER_BLOCK), batch * count)](
        *(heat, weights, _axes(tuple(views), heat.device), tables),
        SIZE=size,
        VIEWS=count,
        BLOCK=PAIRS_PER_BLOCK,
        **ROUNDING,
    )
    return tables


@kernels.on_its_device
def best_sum(tables: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over (x, y, z) of `(first[x, y] + second[y, z]) + third[x, z]`.

    Args:
        tables: (B, 3, S, S) float32, not negative.

    Returns:
        maximum (B,) and its flat index (B,) int64, the lowest of equal ones.
    """
    batch, _, size, _ = tables.shape
    keys = torch.zeros(batch, dtype=torch.int64, device=tables.device)
    kernels.best_of_column[(size, batch)](
        *(tables, keys),
        SIZE=size,
        BLOCK_Y=ROWS_PER_BLOCK,
        BLOCK_Z=1 << (size - 1).bit_length(),
    )
    maximum = (keys >> 32).to(torch.int32).view(torch.float32)
    return maximum, LARGEST_INDEX - (keys & LARGEST_INDEX)


@functools.lru_cache(maxsize=8)
def _axes(views: tuple[View, ...], device: torch.device) -> Tensor:
    rows = [(v.column_sign, v.row_sign, int(v.column_axis < v.row_axis)) for v in views]
    return torch.tensor(rows, dtype=torch.int32, device=device)
