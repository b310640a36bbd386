#!/usr/bin/env python3
"""CPU time of one update of the tiny network, stage 1, and what its options save.

    python scripts/benchmarks/benchmark_tiny.py --json FILE [--quick]

An update has augmentation, rendering, targets, gradients and optimiser, on noise in the shape of
recorded samples. Baseline: images of 128 pixels and maps in planes. CPU time, user and system of
all threads, means something on a busy machine, too; variants take turns all the same.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from benchmarking import Row, build_parser, report
from random_samples import measured_policy, random_batch

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.console import make_output_safe
from sam2act.training.optimizer import build_optimizer


class Variant(NamedTuple):
    """One way to train: pixels per side of the cameras, and how maps lie in memory."""

    name: str
    side: int
    channels_last: bool


BEFORE = Variant("128 pixels, maps in planes", 128, False)
VARIANTS = (
    BEFORE,
    Variant("128 pixels, channels_last", 128, True),
    Variant("64 pixels, channels_last", 64, True),
)
STAGE_ONE = ("configs/tiny.yaml", "configs/mvt/tiny.yaml")


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    parser = build_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="updates per variant (10)")
    args = parser.parse_args(arguments)
    keep_freed_memory()
    rows = 2 if args.quick else 16
    updates = [update_of(variant, rows) for variant in VARIANTS]
    seconds = cpu_seconds(updates, 1 if args.quick else args.repeats)
    table = [Row(BEFORE.name, 1e3 * seconds[0], "ms")]
    for variant, spent in zip(VARIANTS[1:], seconds[1:], strict=True):
        table.append(Row(variant.name, 1e3 * spent, "ms", 1e3 * seconds[0], BEFORE.name))
    title = f"{'quick ' if args.quick else ''}update of the tiny network, batch {rows}, CPU time"
    report(title, table, args.json)
    return 0


def update_of(variant: Variant, rows: int) -> Callable[[], None]:
    """A function that makes one update of a network of its own."""
    bundle = build_policy(
        load_experiment(STAGE_ONE[0], f"image_size {variant.side}"),
        load_network(STAGE_ONE[1], f"channels_last {variant.channels_last}"),
        seed=0,
    )
    policy = measured_policy(bundle).train()
    batch, language = random_batch(bundle, rows, variant.side, "cpu")
    noise = TrainingNoise.sample(rows, torch.Generator().manual_seed(0))
    groups = policy.parameter_groups()
    optimizer = build_optimizer(groups, optimizer_type="adamw", bnb=False, lr=1e-5)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        policy.loss(batch, language, noise).total.backward()
        optimizer.step()

    return update


def cpu_seconds(functions: list[Callable[[], None]], repeats: int) -> list[float]:
    """Medians over rounds in which the functions take turns, the first round not counted."""
    rounds = []
    for _ in range(repeats + 1):
        spent = []
        for function in functions:
            started = time.process_time()
            function()
            spent.append(time.process_time() - started)
        rounds.append(spent)
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
