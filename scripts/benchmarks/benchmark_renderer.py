#!/usr/bin/env python3
"""Measures the renderers and the 3-D arg-max, each beside a baseline of the same run.

    python scripts/benchmarks/benchmark_renderer.py --json FILE [--quick] [--device cuda]

Baselines: the torch path for the fused ones, a z-buffer made by sorting for its z-buffer, the dense
arg-max for the other methods. Times are medians per sample and stage.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from benchmarking import Row, add_device, build_parser, compare_seconds, copy_rate, report
from torch import Tensor

from sam2act.rendering.backends import FASTEST, works
from sam2act.rendering.grid_argmax import grid_argmax
from sam2act.rendering.heatmaps import gaussian_heatmaps
from sam2act.rendering.renderer import render
from sam2act.rendering.splat_torch import DEPTH_UNITS, EMPTY_KEY, FAR_LIMIT, z_buffer
from sam2act.rendering.views import THREE_VIEWS, project, view_depth
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.console import make_output_safe

RADIUS = 0.012
UNIT = "ms/sample"


class Sizes(NamedTuple):
    """What is measured."""

    batch: int
    points: int
    side: int
    repeats: int
    copied: int = 256  # megabytes


FULL = Sizes(batch=4, points=65536, side=224, repeats=21)  # four cameras of 128 pixels
QUICK = Sizes(batch=2, points=16384, side=64, repeats=3, copied=16)


class Clock:
    """Times functions in milliseconds per sample."""

    def __init__(self, sizes: Sizes, device: str) -> None:
        self.sizes, self.device = sizes, device

    def __call__(self, *functions: Callable[[], object]) -> list[float]:
        """Medians over the repeats."""
        seconds = compare_seconds(functions, repeats=self.sizes.repeats, device=self.device)
        return [1000 * value / self.sizes.batch for value in seconds]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = build_parser(__doc__)
    add_device(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    options = parse_arguments(arguments)
    sizes = QUICK if options.quick else FULL
    if options.device == "cpu":
        keep_freed_memory()  # as training and evaluation do
    rows = measure_renderer(sizes, options.device) + measure_argmax(sizes, options.device)
    rows.append(Row("memory", copy_rate(options.device, sizes.copied), "GB/s"))
    title = f"renderer and arg-max, {options.device}, batch {sizes.batch}, {sizes.points} points, "
    report(f"{title}{len(THREE_VIEWS)} views of {sizes.side} px", rows, options.json)
    return 0


def measure_renderer(sizes: Sizes, device: str) -> list[Row]:
    """Rendering calls, and the z-buffer of the torch path against sorting."""
    generator = torch.Generator().manual_seed(0)
    shape = (sizes.batch, sizes.points, 3)
    cloud = (2 * torch.rand(shape, generator=generator) - 1).to(device)
    rgb = torch.rand(shape, generator=generator).to(device)
    side, clock = sizes.side, Clock(sizes, device)
    assert torch.equal(z_buffer(cloud, None, THREE_VIEWS, side), z_buffer_by_sorting(cloud, side))
    ours, sorting = clock(
        lambda: z_buffer(cloud, None, THREE_VIEWS, side), lambda: z_buffer_by_sorting(cloud, side)
    )
    rows = [Row("torch z-buffer", ours, UNIT, sorting, "sorting")]
    plain = functools.partial(
        render, cloud, rgb, views=THREE_VIEWS, size=side, radius=RADIUS, pixel_location=True
    )
    name = FASTEST[device.partition(":")[0]]
    names = ["torch", name] if works(name, cloud.device.type) else ["torch"]
    slow, *fast = clock(*(functools.partial(plain, backend=name) for name in names))
    rows.append(Row("render, torch", slow, UNIT))
    rows += [Row(f"render, {name}", milliseconds, UNIT, slow, "torch") for milliseconds in fast]
    return rows


def measure_argmax(sizes: Sizes, device: str) -> list[Row]:
    """The fastest method against the dense one, for peaked heat maps and for noise."""
    generator = torch.Generator().manual_seed(1)
    target = 1.6 * torch.rand(sizes.batch, 3, generator=generator) - 0.8
    peaked = gaussian_heatmaps(project(target, THREE_VIEWS, sizes.side), sizes.side, 4.0)
    noise = torch.randn(sizes.batch, 3, sizes.side**2, generator=generator)
    maps = {"peaked maps": peaked, "noise": noise.softmax(dim=-1).view_as(peaked)}
    return [
        compare_methods(name, heat.to(device), Clock(sizes, device)) for name, heat in maps.items()
    ]


def compare_methods(name: str, heat: Tensor, clock: Clock) -> Row:
    """The method chosen for the device beside the dense one, for (B, V, S, S) heat maps."""
    chosen, dense = clock(
        lambda: grid_argmax(heat, THREE_VIEWS), lambda: grid_argmax(heat, THREE_VIEWS, "dense")
    )
    return Row(f"arg-max, {name}", chosen, UNIT, dense, "dense")


def z_buffer_by_sorting(cloud: Tensor, side: int) -> Tensor:
    """Baseline: sort all points by depth and index, then by pixel, and keep each pixel's first."""
    batch, count = cloud.shape[:2]
    pixel = project(cloud, THREE_VIEWS, side)
    inside = ((pixel >= 0) & (pixel < side)).all(dim=-1)
    column, row = pixel.to(torch.int64).unbind(-1)
    steps = view_depth(cloud, THREE_VIEWS) * DEPTH_UNITS
    order = torch.arange(count, device=cloud.device)[:, None]
    keys = (steps.clamp(0, FAR_LIMIT).to(torch.int64) << 32) | order
    image = torch.arange(batch * 3, device=cloud.device).view(batch, 1, 3)
    slots = ((image * side + row) * side + column)[inside]
    keys, by_key = keys[inside].sort()
    slots, by_slot = slots[by_key].sort(stable=True)
    first = torch.ones_like(slots, dtype=torch.bool)
    first[1:] = slots[1:] != slots[:-1]
    buffer = keys.new_full((batch * 3 * side * side,), EMPTY_KEY)
    buffer[slots[first]] = keys[by_slot][first]
    return buffer.view(batch, 3, side, side)


if __name__ == "__main__":
    sys.exit(main())
