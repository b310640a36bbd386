"""Point splatting on a CPU in C (`splat.c`); equals `splat_torch`.

B batch, V view, N point, C feature channel, S image side in pixels.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from pathlib import Path

import torch
from torch import Tensor

from sam2act.core.c_library import load_library
from sam2act.rendering.scene import Clouds, Screen
from sam2act.rendering.splat_torch import center_depth, splat_offsets
from sam2act.rendering.views import View

__all__ = ["center_depth", "draw", "largest_coordinate", "prepare"]

SOURCE = Path(__file__).with_name("splat.c")
_kept = threading.local()


class _View(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("column_axis", "column_sign")),
        *((name, ctypes.c_int32) for name in ("row_axis", "row_sign", "depth_axis", "depth_sign")),
        ("depth_offset", ctypes.c_float),
    ]


class _Clouds(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("points", "features", "valid", "divisor")),
        *((name, ctypes.c_int64) for name in ("samples", "count", "channels")),
    ]


class _Splat(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.POINTER(ctypes.c_int32)) for name in ("columns", "rows")),
        *((name, ctypes.c_int32) for name in ("count", "margin")),
    ]


class _Images(ctypes.Structure):
    _fields_ = [
        ("pixels", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("sample_stride", "view_stride", "channel_stride")),
        ("size", ctypes.c_int32),
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


def draw(clouds: Clouds, screen: Screen, out: Tensor) -> None:
    """See `splat_torch.draw`."""
    clouds = clouds.contiguous()  # its tensors must live as long as C holds their addresses
    splat = _splat(screen.radius, screen.size)
    padded = screen.size + 2 * splat.margin
    threads, scratch_count = torch.get_num_threads(), 2 * padded**2 + 2 * screen.size
    keys, scratch = _working_memory(threads * screen.size**2, threads * scratch_count)
    _library().sam2act_draw(
        *(_clouds(clouds), _views(screen.views), len(screen.views), splat),
        *(_Images(out.data_ptr(), *out.stride()[:3], screen.size), threads),
        *(keys.data_ptr(), scratch.data_ptr(), scratch_count),
    )


def largest_coordinate(points: Tensor, valid: Tensor | None) -> Tensor:
    """See `splat_torch.largest_coordinate`."""
    clouds = Clouds(points, points, valid).contiguous()
    largest = points.new_empty(len(points))
    _library().sam2act_largest_coordinates(
        _clouds(clouds), torch.get_num_threads(), largest.data_ptr()
    )
    return largest


def _clouds(clouds: Clouds) -> _Clouds:
    tensors = (clouds.points, clouds.features, clouds.valid, clouds.divisor)
    addresses = (None if tensor is None else tensor.data_ptr() for tensor in tensors)
    return _Clouds(*addresses, *clouds.features.shape)


@functools.cache
def _views(views: tuple[View, ...]) -> ctypes.Array[_View]:
    names = [name for name, *_ in _View._fields_]
    structures = (_View(*(getattr(view, name) for name in names)) for view in views)
    return (_View * len(views))(*structures)


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
    library.sam2act_draw.restype = None
    library.sam2act_draw.argtypes = [
        *(ctypes.POINTER(kind) for kind in (_Clouds, _View)),
        ctypes.c_int32,
        *(ctypes.POINTER(kind) for kind in (_Splat, _Images)),
        *(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
    ]
    library.sam2act_largest_coordinates.restype = None
    library.sam2act_largest_coordinates.argtypes = [
        *(ctypes.POINTER(_Clouds), ctypes.c_int32, ctypes.c_void_p),
    ]
    return library


def _working_memory(keys: int, scratch: int) -> tuple[Tensor, Tensor]:
    """Kept from call to call of this thread: fresh memory costs as much as drawing."""
    if getattr(_kept, "sizes", None) != (keys, scratch):
        _kept.sizes = (keys, scratch)
        _kept.keys = torch.empty(keys, dtype=torch.int64, device="cpu")
        _kept.scratch = torch.empty(scratch, dtype=torch.int32, device="cpu")
    return _kept.keys, _kept.scratch
