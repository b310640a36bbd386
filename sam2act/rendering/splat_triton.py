"""Point splatting in Triton; equals `splat_torch` up to the rounding of mean depths.

B batch, V view, N point, C feature channel, S image side in pixels.
"""

from __future__ import annotations

import functools
import importlib
import subprocess

import torch
from torch import Tensor

from sam2act.rendering import triton_kernels as kernels
from sam2act.rendering.scene import Clouds, Screen
from sam2act.rendering.splat_torch import EMPTY_KEY, FAR_LIMIT, splat_offsets
from sam2act.rendering.views import View

__all__ = ["center_depth", "draw", "largest_coordinate", "prepare"]

POINTS_PER_BLOCK = 512
PIXELS_PER_BLOCK = 512
PIXELS_PER_CENTERING = 4096
ROUNDING = {"enable_fp_fusion": False}


def prepare(device: str) -> None:
    """Check that Triton is there and can run on this kind of device, by launching a kernel.

    Raises:
        ImportError: it is not there.
        RuntimeError: it needs a GPU, or cannot compile (it needs a C compiler, too).
    """
    importlib.import_module("triton")
    if device != "cuda" and not kernels.INTERPRETED:
        raise RuntimeError("it needs a GPU (or TRITON_INTERPRET=1, which is for tests)")
    try:
        largest_coordinate(torch.zeros(1, 1, 3, device=device), None)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"its kernels cannot be compiled here: {error}") from error


@kernels.on_its_device
def draw(clouds: Clouds, screen: Screen, out: Tensor) -> None:
    """See `splat_torch.draw`."""
    clouds = clouds.contiguous()
    batch, count, channels = clouds.features.shape
    points, views, size = clouds.points, len(screen.views), screen.size
    shape = (batch, views, size, size)
    buffer = torch.full(shape, EMPTY_KEY, dtype=torch.int64, device=points.device)
    if count:
        kernels.fill_buffer[(_blocks(count, POINTS_PER_BLOCK), batch)](
            *(points, _bytes(clouds.valid, points)),
            *(*_camera_tables(screen.views, points.device), buffer, count),
            FAR_LIMIT=FAR_LIMIT,
            SIZE=size,
            VIEWS=views,
            HAS_VALID=clouds.valid is not None,
            BLOCK=POINTS_PER_BLOCK,
            **ROUNDING,
        )
    neighbours = _neighbours(screen.radius, size, points.device)
    divisor = points if clouds.divisor is None else clouds.divisor  # any tensor if it is not read
    kernels.resolve_and_pack[(_blocks(size**2, PIXELS_PER_BLOCK), batch * views)](
        *(points, clouds.features, divisor, buffer, neighbours, out, count, *out.stride()[:3]),
        EMPTY=EMPTY_KEY,
        SIZE=size,
        VIEWS=views,
        NEIGHBOURS=len(neighbours),
        CHANNELS=channels,
        POSITIONS=clouds.divisor is not None,
        BLOCK=PIXELS_PER_BLOCK,
        **ROUNDING,
    )


@kernels.on_its_device
def largest_coordinate(points: Tensor, valid: Tensor | None) -> Tensor:
    """See `splat_torch.largest_coordinate`."""
    points = points.contiguous()
    batch, count = points.shape[:2]
    bits = torch.zeros(batch, dtype=torch.int32, device=points.device)
    if count:
        kernels.find_largest[(_blocks(count, POINTS_PER_BLOCK), batch)](
            *(points, _bytes(valid, points), bits, count),
            HAS_VALID=valid is not None,
            BLOCK=POINTS_PER_BLOCK,
        )
    largest = bits.view(torch.float32)
    return torch.where(largest > 0, largest, 1)


@kernels.on_its_device
def center_depth(depth: Tensor) -> None:
    """See `splat_torch.center_depth`, but with an exact sum.

    A float32 sum of P pixels, of which n show something, is off by about 2^-22 P / n. On a GPU its
    order differs from that of the published sum anyway, so nothing is gained by repeating that.
    """
    batch, views, height, width = depth.shape
    assert depth.stride()[2:] == (width, 1)
    kernels.center_image[(batch * views,)](
        *(depth, depth.stride(0), depth.stride(1)),
        PIXELS=height * width,
        VIEWS=views,
        BLOCK=PIXELS_PER_CENTERING,
    )


def _blocks(count: int, block: int) -> int:
    return -(-count // block)


def _bytes(valid: Tensor | None, points: Tensor) -> Tensor:
    """The mask as bytes; any tensor stands for a mask that is not read."""
    return points if valid is None else valid.contiguous().view(torch.uint8)


@functools.lru_cache(maxsize=8)
def _camera_tables(views: tuple[View, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    rows = [
        (v.column_axis, v.column_sign, v.row_axis, v.row_sign, v.depth_axis, v.depth_sign)
        for v in views
    ]
    axes = torch.tensor(rows, dtype=torch.int32, device=device)
    return axes, torch.tensor([v.depth_offset for v in views], device=device)


@functools.lru_cache(maxsize=8)
def _neighbours(radius: float, size: int, device: torch.device) -> Tensor:
    return torch.tensor(splat_offsets(radius, size), dtype=torch.int32, device=device)
