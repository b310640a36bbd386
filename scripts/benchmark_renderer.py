"""Measures the torch renderer and the 3-D arg-max, each against a baseline in the same run.

    python scripts/benchmark_renderer.py --json FILE [--quick] [--device cuda]

Baselines: z-buffer by sorting for the renderer, the dense arg-max for the pruned one. Times are
milliseconds per sample, the best of several rounds; ratios above 1 mean faster than the baseline.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sam2act.rendering.grid_argmax import grid_argmax
from sam2act.rendering.heatmaps import gaussian_heatmaps
from sam2act.rendering.renderer import render
from sam2act.rendering.splat_torch import (
    DEPTH_UNITS,
    EMPTY_KEY,
    FAR_LIMIT,
    z_buffer,
)
from sam2act.rendering.views import THREE_VIEWS, project, view_depth

RADIUS = 0.012


def main() -> None:
    """Runs all measurements and writes them as JSON."""
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    shape = {"batch": 2, "points": 16384, "size": 64} if arguments.quick else {}
    shape = {"batch": 4, "points": 65536, "size": 224} | shape
    rounds = 2 if arguments.quick else 5
    report = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **shape,
        "renderer": measure_renderer(device, rounds, **shape),
        "argmax": measure_argmax(device, rounds, shape["batch"], shape["size"]),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json is not None:
        partial = arguments.json.with_name(arguments.json.name + ".partial")
        partial.write_text(text + "\n")
        os.replace(partial, arguments.json)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def measure_renderer(
    device: torch.device, rounds: int, batch: int, points: int, size: int
) -> dict[str, float]:
    """Per-sample milliseconds of one rendering call and of its z-buffer against the baseline."""
    generator = torch.Generator().manual_seed(0)
    cloud = (torch.rand(batch, points, 3, generator=generator) * 2 - 1).to(device)
    rgb = torch.rand(batch, points, 3, generator=generator).to(device)
    assert torch.equal(z_buffer(cloud, None, THREE_VIEWS, size), z_buffer_by_sorting(cloud, size))
    picture = {"views": THREE_VIEWS, "size": size, "radius": RADIUS}
    times = {
        "render_ms": per_sample(lambda: render(cloud, rgb, **picture), batch, rounds),
        "z_buffer_ms": per_sample(lambda: z_buffer(cloud, None, THREE_VIEWS, size), batch, rounds),
        "baseline_sorting_z_buffer_ms": per_sample(
            lambda: z_buffer_by_sorting(cloud, size), batch, rounds
        ),
    }
    ratio = times["baseline_sorting_z_buffer_ms"] / times["z_buffer_ms"]
    return times | {"z_buffer_speedup": round(ratio, 2)}


def measure_argmax(device: torch.device, rounds: int, batch: int, size: int) -> dict[str, object]:
    """Per-sample milliseconds of both methods for peaked heat maps and for noise."""
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(batch, 3, generator=generator) * 1.6 - 0.8
    peaked = gaussian_heatmaps(project(target, THREE_VIEWS, size), size, 4.0)
    noise = torch.randn(batch, 3, size * size, generator=generator)
    maps = {"peaked": peaked, "noise": noise.softmax(dim=-1).view_as(peaked)}
    report: dict[str, object] = {}
    for name, heat in maps.items():
        report[name] = compare_methods(heat.to(device), batch, rounds)
    return report


def compare_methods(heat: Tensor, batch: int, rounds: int) -> dict[str, float]:
    """Times of the pruned method and of its baseline, the dense one."""
    times = {
        f"{method}_ms": per_sample(
            lambda method=method: grid_argmax(heat, THREE_VIEWS, method), batch, rounds
        )
        for method in ("pruned", "dense")
    }
    return times | {"speedup": round(times["dense_ms"] / times["pruned_ms"], 2)}


def z_buffer_by_sorting(cloud: Tensor, size: int) -> Tensor:
    """Baseline: sort all points by depth and index, then by pixel, and keep each pixel's first."""
    batch, count = cloud.shape[:2]
    pixel = project(cloud, THREE_VIEWS, size)
    inside = ((pixel >= 0) & (pixel < size)).all(dim=-1)
    column, row = pixel.to(torch.int64).unbind(-1)
    steps = view_depth(cloud, THREE_VIEWS) * DEPTH_UNITS
    order = torch.arange(count, device=cloud.device)[:, None]
    keys = (steps.clamp(0, FAR_LIMIT).to(torch.int64) << 32) | order
    image = torch.arange(batch * 3, device=cloud.device).view(batch, 1, 3)
    slots = ((image * size + row) * size + column)[inside]
    keys, by_key = keys[inside].sort()
    slots, by_slot = slots[by_key].sort(stable=True)
    first = torch.ones_like(slots, dtype=torch.bool)
    first[1:] = slots[1:] != slots[:-1]
    buffer = keys.new_full((batch * 3 * size * size,), EMPTY_KEY)
    buffer[slots[first]] = keys[by_slot][first]
    return buffer.view(batch, 3, size, size)


def per_sample(function: Callable[[], object], batch: int, rounds: int) -> float:
    """Milliseconds per sample of the fastest round, after one round of warming up."""
    fastest = float("inf")
    for _ in range(rounds + 1):
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return round(1000 * fastest / batch, 3)


def device_name(device: torch.device) -> str:
    """Name of the hardware that ran the measurement."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
