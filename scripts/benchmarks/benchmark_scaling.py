#!/usr/bin/env python3
"""How cost grows with points, batch, views, image size, memory length, workers and ranks.

    python scripts/benchmarks/benchmark_scaling.py --json FILE [--charts DIR] [--quick]
        [--device cuda]

Baseline of every row: the smallest value of the same series in the same run. Workers and ranks have
one thread each and work on the CPU, with the network of the quick start.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from benchmarking import QUICK_NETWORK, add_device, build_parser, median_seconds, report
from random_samples import measured_policy, random_batch
from scaling_processes import process_series
from scaling_series import Series, draw

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.sam2act.memory.bank import MemoryBank
from sam2act.policies.sam2act.network import SAM2ActNetwork
from sam2act.rendering.renderer import render
from sam2act.rendering.views import VIEWS
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.console import make_output_safe

RADIUS = 0.012
POINTS, SIZE, VIEW_COUNT = 65536, 224, 3


def main(arguments: list[str] | None = None) -> int:
    """Measures, reports and draws."""
    make_output_safe()
    parser = build_parser(__doc__)
    add_device(parser)
    parser.add_argument("--charts", type=Path, help="folder for one SVG per chart")
    args = parser.parse_args(arguments)
    if args.device == "cpu":
        keep_freed_memory()  # as training and evaluation do
    every = [
        *rendering_series(args.quick, args.device),
        *network_series(args.quick, args.device),
        *process_series(args.quick),
    ]
    rows = [row for series in every for row in series.rows()]
    report(f"{'quick ' if args.quick else ''}growth of cost, {args.device}", rows, args.json)
    if args.charts:
        draw(every, args.charts)
    return 0


def rendering_series(quick: bool, device: str) -> Iterator[Series]:
    """Rendering per call, one quantity changed at a time."""
    sizes = (64,) if quick else (56, 112, 224, 448)
    counts = (4096, 16384) if quick else (4096, 16384, 65536, 262144)
    size, points = (64, 4096) if quick else (SIZE, POINTS)
    changes: dict[str, tuple[Sequence[int], Callable[[int], dict[str, int]]]] = {
        "points": (counts, lambda n: {"points": n}),
        "image side": (sizes, lambda n: {"size": n}),
        "views": ((1, 3, 5), lambda n: {"views": n}),
        "batch": ((1, 2) if quick else (1, 2, 4, 8), lambda n: {"batch": n}),
    }
    for quantity, (values, change) in changes.items():
        backends = ("auto",) if quick else ("torch", "auto")
        for backend in backends:
            name = "render" if backend == "auto" else "render, torch path"
            measured = []
            for value in values:
                given = {"points": points, "size": size, "views": VIEW_COUNT, "batch": 1}
                given |= change(value)
                measured.append((float(value), rendering_time(backend, device, quick, **given)))
            yield Series(name, quantity, tuple(measured))


def rendering_time(
    backend: str, device: str, quick: bool, *, points: int, size: int, views: int, batch: int
) -> float:
    """Milliseconds of one call."""
    generator = torch.Generator().manual_seed(0)
    cloud = (2 * torch.rand(batch, points, 3, generator=generator) - 1).to(device)
    chosen = tuple(VIEWS.values())[:views]
    call = functools.partial(
        render, cloud, cloud, views=chosen, size=size, radius=RADIUS, backend=backend
    )
    return 1000 * median_seconds(call, repeats=2 if quick else 9, device=device)


def network_series(quick: bool, device: str) -> Iterator[Series]:
    """Acting with memory: by the batch, and by the number of remembered keyframes."""
    opts = f"sam2_ckpt '' num_maskmem {3 if quick else 9} {QUICK_NETWORK if quick else ''}"
    bundle = build_policy(
        load_experiment("configs/sam2act_plus.yaml"),
        load_network("configs/mvt/sam2act_plus.yaml", opts),
    )
    policy = measured_policy(bundle).to(device).eval()
    repeats, side = (1, 32) if quick else (3, 128)
    measured = []
    with torch.inference_mode():
        for count in (1, 2) if quick else (1, 2, 4, 8):
            batch, language = random_batch(bundle, count, side, device)
            act = functools.partial(policy.predict, batch.observation(), language)
            measured.append(
                (float(count), 1000 * median_seconds(act, repeats=repeats, device=device))
            )
        yield Series("act", "batch", tuple(measured))
        yield coarse_steps(policy.network, repeats, device)


def coarse_steps(network: SAM2ActNetwork, repeats: int, device: str) -> Series:
    """The coarse branch of one environment with room for ever more keyframes."""
    assert network.memory is not None
    config, side = network.config, network.config.img_size
    images = torch.rand(1, len(network.views), 10, side, side, device=device)
    proprio = torch.rand(1, config.proprio_dim, device=device)
    language = torch.rand(1, config.lang_len, config.lang_dim, device=device)
    measured = []
    for capacity in range(1, config.num_maskmem + 1, 2):
        bank = MemoryBank.for_environments(1, capacity, network.memory.frame_shape, images)
        step = functools.partial(network.coarse_step, images, proprio, language, bank)
        seconds = median_seconds(step, repeats=repeats, device=device)
        measured.append((float(capacity), 1000 * seconds))
    return Series("coarse step", "remembered keyframes", tuple(measured))


if __name__ == "__main__":
    sys.exit(main())
