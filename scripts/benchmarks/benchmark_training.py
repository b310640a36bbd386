#!/usr/bin/env python3
"""Time and peak memory of one training step of the full-size network, both stages.

    python scripts/benchmarks/benchmark_training.py --json FILE [--quick] [--device cuda]

Baselines: the published network's figures for forward and backward at batch 2 on two CPU threads
(20.5 s, 8.7 GB), which leave out rendering and optimiser where ours includes them and are
comparable on a similar CPU only; for every option, the step without it in the same run. Each
variant runs in a process of its own, so that its peak memory is its own; not with --quick.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from benchmarking import (
    QUICK_NETWORK,
    Row,
    add_device,
    build_parser,
    gigaflops_of,
    matrix_rate,
    median_seconds,
    report,
)
from random_samples import random_batch

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.console import make_output_safe
from sam2act.training.optimizer import build_optimizer

PUBLISHED_STEP_SECONDS, PUBLISHED_STEP_GIGABYTES = 20.5, 8.7
PUBLISHED = "published network, 2 CPU threads"
WINDOW, QUICK_WINDOW = 10, 3  # frames; 10 in the sequences of put_block_back


class Variant(NamedTuple):
    """One way to train; options are added to the published configs."""

    name: str
    experiment_opts: str = ""
    network_opts: str = ""
    autocast: bool = False
    stage: int = 1


PLAIN = Variant("trainable LoRA")
DEAD = Variant("skip_dead_lora", "peract.skip_dead_lora True")
VARIANTS = (
    PLAIN,
    Variant("activation checkpointing", network_opts="activation_checkpointing True"),
    Variant("bfloat16", autocast=True),
    DEAD,
    Variant("skip_dead_lora, bfloat16", DEAD.experiment_opts, autocast=True),
)
STAGE_TWO = (
    Variant(f"stage 2, a window of {WINDOW}", stage=2),
    Variant(f"stage 2, a window of {WINDOW}, bfloat16", stage=2, autocast=True),
)
QUICK_STAGE_TWO = (Variant(f"stage 2, a window of {QUICK_WINDOW}", stage=2),)
COMPILED = Variant("skip_dead_lora, compiled", f"{DEAD.experiment_opts} peract.compile default")


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    args = parse_arguments(arguments)
    if args.variant:
        variant = next(v for v in (*VARIANTS, *STAGE_TWO, COMPILED) if v.name == args.variant)
        print(json.dumps(measure(variant, args)))
        return 0
    rows = [row for part in (stage_one(args), stage_two(args)) for row in part]
    side = 256 if args.quick else 2048
    for dtype in (torch.float32, torch.bfloat16):
        rows.append(
            Row(f"matrix product, {dtype}", matrix_rate(args.device, dtype, side), "GFLOP/s")
        )
    title = f"{'quick ' if args.quick else ''}training step, batch {args.bs}, {args.device}"
    report(title, rows, args.json)
    return 0


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = build_parser(__doc__)
    add_device(parser)
    parser.add_argument("--bs", type=int, default=2, help="samples per step of stage 1 (2)")
    parser.add_argument("--repeats", type=int, default=3, help="steps per measurement (3)")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--variant", default="", help="measure one variant in this process")
    args = parser.parse_args(arguments)
    if args.quick:
        args.repeats = 1
    return args


def stage_one(args: argparse.Namespace) -> Iterator[Row]:
    """The plain step beside the published one, every option beside the plain step."""
    seconds, gigabytes, gigaflops = in_own_process(PLAIN, args)
    published: tuple[float | None, float | None, str] = (None, None, "")
    if not args.quick and args.bs == 2:
        published = (PUBLISHED_STEP_SECONDS, PUBLISHED_STEP_GIGABYTES, PUBLISHED)
    yield Row(f"{PLAIN.name}: step", seconds, "s", published[0], published[2])
    yield Row(f"{PLAIN.name}: peak memory", gigabytes, "GB", published[1], published[2])
    yield from operations_rows(PLAIN, gigaflops)
    measured = {PLAIN: (seconds, gigabytes)}
    for variant in (*VARIANTS[1:], *(COMPILED,) * args.compile):
        baseline = DEAD if variant is COMPILED else PLAIN
        seconds, gigabytes, gigaflops = in_own_process(variant, args)
        measured[variant] = (seconds, gigabytes)
        slower, larger = measured[baseline]
        yield Row(f"{variant.name}: step", seconds, "s", slower, baseline.name)
        yield Row(f"{variant.name}: peak memory", gigabytes, "GB", larger, baseline.name)
        yield from operations_rows(variant, gigaflops)


def operations_rows(variant: Variant, gigaflops: float) -> Iterator[Row]:
    """Matrix products and convolutions of a step; divided by the matrix rate, its floor."""
    if gigaflops:
        yield Row(f"{variant.name}: operations", gigaflops, "GFLOP")


def stage_two(args: argparse.Namespace) -> Iterator[Row]:
    """One window per step."""
    plain = None
    for variant in QUICK_STAGE_TWO if args.quick else STAGE_TWO:
        seconds, gigabytes, gigaflops = in_own_process(variant, args)
        baseline, label = (plain, "float32") if plain else (None, "")
        yield Row(f"{variant.name}: step", seconds, "s", baseline, label)
        yield Row(f"{variant.name}: peak memory", gigabytes, "GB")
        yield from operations_rows(variant, gigaflops)
        plain = plain or seconds


def in_own_process(variant: Variant, args: argparse.Namespace) -> tuple[float, float, float]:
    """Median seconds per step, peak gigabytes and billions of operations."""
    if args.quick:  # a trial, whose figures mean little
        return measure(variant, args)
    command = [sys.executable, __file__, "--variant", variant.name, "--device", args.device]
    command += ["--bs", str(args.bs), "--repeats", str(args.repeats)]
    command += ["--quick"] * args.quick
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"{variant.name}: {done.stderr}")
    seconds, gigabytes, gigaflops = json.loads(done.stdout.splitlines()[-1])
    return seconds, gigabytes, gigaflops


def measure(variant: Variant, args: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds, peak gigabytes and billions of operations of a step.

    A step has augmentation, rendering, targets, gradients and optimiser.
    """
    if args.device == "cpu":
        keep_freed_memory()
    plus = "_plus" if variant.stage == 2 else ""
    network_opts = f"sam2_ckpt '' {variant.network_opts} {QUICK_NETWORK if args.quick else ''}"
    window = QUICK_WINDOW if args.quick else WINDOW
    network_opts += f" num_maskmem {window - 1}" if plus else ""
    bundle = build_policy(
        load_experiment(f"configs/sam2act{plus}.yaml", variant.experiment_opts),
        load_network(f"configs/mvt/sam2act{plus}.yaml", network_opts),
    )
    policy = bundle.policy.to(args.device).train()
    policy.compile_network(bundle.experiment.peract.compile)
    count = window if plus else args.bs
    batch, language = random_batch(bundle, count, 32 if args.quick else 128, args.device)
    draws = TrainingNoise.sample(count, torch.Generator().manual_seed(0)).to(args.device)
    optimizer = build_optimizer(
        [p for p in policy.parameters() if p.requires_grad],
        optimizer_type="lamb",
        bnb=True,
        lr=1e-5,
    )

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(args.device, torch.bfloat16, enabled=variant.autocast):
            loss = policy.loss(batch, language, draws).total
        loss.backward()
        optimizer.step()

    warm_up = 0 if args.quick else 1
    seconds = median_seconds(step, repeats=args.repeats, warm_up=warm_up, device=args.device)
    gigabytes = peak_gigabytes(args.device)
    # Counting under autocast would be slow, and compiled code cannot be counted; the operations are
    # those of the plain float32 step.
    uncounted = variant.autocast or variant is COMPILED
    return seconds, gigabytes, 0.0 if uncounted else gigaflops_of(step)


def peak_gigabytes(device: str) -> float:
    """Largest memory so far: of the GPU, or of the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
