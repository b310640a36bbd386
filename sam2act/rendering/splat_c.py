"""Point splatting on a CPU in C (`splat.c`), one thread per view; equals `splat_torch`.

B batch, V view, N point, C feature channel, S image side in pixels.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from sam2act.compat.c_library import load_library
from sam2act.rendering.splat_torch import center_depth, splat_offsets
from sam2act.rendering.views import View

__all__ = ["center_depth", "draw", "largest_coordinate", "prepare"]

Result = TypeVar("Result")
_kept = threading.local()
SOURCE = Path(__file__).with_name("splat.c")


class _View(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("column_axis", "column_sign")),
        *((name, ctypes.c_int32) for name in ("row_axis", "row_sign", "depth_axis", "depth_sign")),
        ("depth_offset", ctypes.c_float),
    ]


class _Cloud(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("points", "features", "valid")),
        *((name, ctypes.c_int64) for name in ("count", "channels")),
    ]


class _Splat(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.POINTER(ctypes.c_int32)) for name in ("columns", "rows")),
        *((name, ctypes.c_int32) for name in ("count", "margin")),
    ]


def prepare(device: str) -> None:
    """Compile the kernels unless that has been done.

    Raises:
        CompilerError: it is not possible here.
        RuntimeError: this kind of device is not a CPU.
    """
    if device != "cpu":
        raise RuntimeError(f"it draws on a CPU, not on {device}")
    _library()


def draw(  # noqa: PLR0913 (the signature of every backend)
    points: Tensor,
    features: Tensor,
    valid: Tensor | None,
    divisor: Tensor | None,
    out: Tensor,
    *,
    views: Sequence[View],
    size: int,
    radius: float,
) -> None:
    """See `splat_torch.draw`."""
    # The structures hold addresses only, so the tensors behind them must stay alive until the end.
    points, features = points.contiguous(), features.contiguous()
    valid = None if valid is None else valid.contiguous()
    clouds = _clouds(points, features, valid)
    splat = _splat(radius, size)
    padded = size + 2 * splat.margin
    divisors = [0.0] * len(clouds) if divisor is None else divisor.tolist()

    def draw_view(sample: int, number: int) -> None:
        keys, scratch = _buffers(size**2, 2 * padded**2 + 2 * size)
        _library().sam2act_draw_view(
            *(clouds[sample], _structure(views[number]), splat),
            *(divisors[sample], size, out.stride(2)),
            *(keys.data_ptr(), scratch.data_ptr(), out[sample, number].data_ptr()),
        )

    jobs = [(sample, number) for sample in range(len(clouds)) for number in range(len(views))]
    _in_threads(draw_view, jobs)


def largest_coordinate(points: Tensor, valid: Tensor | None) -> Tensor:
    """See `splat_torch.largest_coordinate`."""
    points = points.contiguous()
    valid = None if valid is None else valid.contiguous()
    clouds = _clouds(points, points, valid)
    values = _in_threads(_library().sam2act_largest_coordinate, [(cloud,) for cloud in clouds])
    return torch.tensor(values, dtype=torch.float32)


def _clouds(points: Tensor, features: Tensor, valid: Tensor | None) -> list[_Cloud]:
    return [
        _Cloud(
            points[i].data_ptr(),
            features[i].data_ptr(),
            None if valid is None else valid[i].data_ptr(),
            *features.shape[1:],
        )
        for i in range(len(points))
    ]


@functools.cache
def _structure(view: View) -> _View:
    return _View(*(getattr(view, name) for name, *_ in _View._fields_))


@functools.cache
def _splat(radius: float, size: int) -> _Splat:
    offsets = splat_offsets(radius, size)
    margin = max(max(abs(dx), abs(dy)) for dx, dy in offsets)
    array = ctypes.c_int32 * len(offsets)
    columns, rows = (array(*values) for values in zip(*offsets, strict=True))
    return _Splat(columns, rows, len(offsets), margin)


@functools.cache
def _library() -> ctypes.CDLL:
    library = load_library(SOURCE)
    library.sam2act_draw_view.restype = None
    library.sam2act_draw_view.argtypes = [
        *(ctypes.POINTER(kind) for kind in (_Cloud, _View, _Splat)),
        *(ctypes.c_float, ctypes.c_int32, ctypes.c_int64),
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
    ]
    library.sam2act_largest_coordinate.restype = ctypes.c_float
    library.sam2act_largest_coordinate.argtypes = [ctypes.POINTER(_Cloud)]
    return library


def _buffers(keys: int, scratch: int) -> tuple[Tensor, Tensor]:
    """Buffers of this thread, kept from call to call: fresh memory costs as much as drawing."""
    if getattr(_kept, "sizes", None) != (keys, scratch):
        _kept.sizes = (keys, scratch)
        _kept.keys = torch.empty(keys, dtype=torch.int64)
        _kept.scratch = torch.empty(scratch, dtype=torch.int32)
    return _kept.keys, _kept.scratch


def _in_threads(function: Callable[..., Result], jobs: Sequence[tuple]) -> list[Result]:
    """Run all jobs on half as many threads as torch uses; calls into C let go of the interpreter.

    Half, because torch's own threads stay awake for a while after their work, as if they had some.
    """
    threads = torch.get_num_threads() // 2
    if threads <= 1 or len(jobs) <= 1:
        return [function(*job) for job in jobs]
    return list(_threads(threads, os.getpid()).map(lambda job: function(*job), jobs))


@functools.lru_cache(maxsize=1)
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Worker threads of this process (a forked child has none of its parent's)."""
    return ThreadPoolExecutor(count, thread_name_prefix="splat")
