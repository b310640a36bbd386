"""Convex combinations of 3x3 neighbourhoods in C (`convex.c`), for maps that lie in rows of pixels.

Legend: M map, C channel, h and w side of a map in pixels.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam2act.core.c_library import CompilerError, load_library

LOGGER = logging.getLogger(__name__)
TAPS = 9  # 3x3 neighbourhood
SOURCE = Path(__file__).with_name("convex.c")


class _Size(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("maps", "height", "width", "channels")]


def suits(values: Tensor) -> bool:
    """Whether `combine` works for these values here: float32 on a CPU, and a compiler was found."""
    if torch.compiler.is_compiling() or type(values) is not Tensor:  # kinds without memory
        return False
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return False
    return compiled_loops() is not None


def combine(values: Tensor, logits: Tensor, factor: float) -> Tensor:
    """Every pixel becomes 2x2: weighted sums over its 3x3 neighbourhood, zero outside the map.

    Args:
        values: (M, C, h, w) float32 on a CPU.
        logits: (M, 36, h, w), channels in the order tap, sub-row, sub-column.
        factor: the soft-max of factor * logits over the taps gives the weights.

    Returns:
        (M, C, 2h, 2w) in rows of pixels (`torch.channels_last`); differentiable once.
    """
    rows = (_rows(values), _rows(logits))
    combined: Tensor = _Combination.apply(*rows, factor)  # type: ignore[no-untyped-call]  # torch
    return combined.movedim(-1, 1)


def _rows(maps: Tensor) -> Tensor:
    """(M, C, h, w) -> (M, h, w, C) in one block of memory; a copy only where it must be."""
    return maps.movedim(1, -1).contiguous()


class _Combination(torch.autograd.Function):
    """All tensors (M, h, w, C)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, logits: Tensor, factor: float) -> Tensor:
        maps, height, width, channels = values.shape
        weights = torch.empty_like(logits)
        combined = values.new_empty(maps, 2 * height, 2 * width, channels)
        _call("sam2act_combine", factor, values, logits, weights, combined)
        ctx.save_for_backward(values, weights)
        ctx.factor = factor
        return combined

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        values, weights = ctx.saved_tensors
        of_values, of_logits = torch.empty_like(values), torch.empty_like(weights)
        tensors = (values, weights, slopes.contiguous(), of_values, of_logits)
        _call("sam2act_combine_gradients", ctx.factor, *tensors)
        return of_values, of_logits, None


def _call(name: str, factor: float, values: Tensor, *others: Tensor) -> None:
    loops = compiled_loops()
    assert loops is not None
    addresses = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (values, *others))
    threads = ctypes.c_int(torch.get_num_threads())
    size = ctypes.byref(_Size(*values.shape))
    getattr(loops, name)(size, threads, ctypes.c_float(factor), *addresses)


@functools.cache
def compiled_loops() -> ctypes.CDLL | None:
    """The compiled loops; None where there is no compiler, which is logged once."""
    try:
        return load_library(SOURCE)
    except CompilerError as error:
        LOGGER.info("upsampler: slower torch path instead of C (%s)", error)
        return None
