#!/usr/bin/env python3
"""Closed-loop evaluation in the embedded simulator: episodes per minute by number of workers.

    python scripts/benchmarks/benchmark_evaluation.py --json FILE [--quick] [--workers 1,2]

A network with random weights acts in put_block_back, so episodes last as long as they may.
Baseline: one worker of the same run. Start-up of the simulators is included, as for a user.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from benchmarking import Row, build_parser, median_seconds, report
from random_samples import measured_policy, random_batch

from sam2act.cli import evaluate as evaluation
from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import PolicyBundle, build_policy, config_extra, save_checkpoint
from sam2act.runtime.console import make_output_safe

TASK = "put_block_back"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = build_parser(__doc__)
    parser.add_argument("--workers", default="1,2", help="worker counts to compare (1,2)")
    parser.add_argument("--episodes", type=int, default=16, help="episodes per measurement (16)")
    parser.add_argument("--steps", type=int, default=14, help="steps per episode (14)")
    args = parser.parse_args(arguments)
    if args.quick:
        args.episodes, args.steps = 2, 2
    return args


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    args = parse_arguments(arguments)
    bundle = build_policy(
        load_experiment("configs/tiny.yaml"), load_network("configs/mvt/tiny.yaml")
    )
    rows = [*measure_episodes(bundle, args), measure_network(bundle)]
    title = f"evaluation, {TASK}, {args.episodes} episodes of {args.steps} steps, tiny network"
    report(title, rows, args.json)
    return 0


def measure_episodes(bundle: PolicyBundle, args: argparse.Namespace) -> Iterator[Row]:
    """Episodes per minute for every number of workers."""
    alone = None
    with tempfile.TemporaryDirectory() as folder:
        content = {"model_state": bundle.model_state(), "extra": config_extra(bundle)}
        save_checkpoint(Path(folder) / "model_0.pth", content)
        for workers in args.workers.split(","):
            rate = 60 * args.episodes / evaluation_seconds(folder, workers, args)
            label = "" if alone is None else f"{args.workers.split(',')[0]} worker"
            yield Row(
                f"workers: {workers}", rate, "episodes/min", alone, label, higher_is_better=True
            )
            alone = alone or rate


def evaluation_seconds(folder: str, workers: str, args: argparse.Namespace) -> float:
    """Wall time of one call of eval.py."""
    command = ["--model-folder", folder, "--model-name", "model_0.pth", "--tasks", TASK]
    command += ["--backend", "embedded", "--seed", "0", "--device", "cpu", "--workers", workers]
    command += ["--eval-episodes", str(args.episodes), "--episode-length", str(args.steps)]
    command += ["--log-name", f"workers_{workers}"]
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        status = evaluation.main(command)
    if status != 0:
        raise RuntimeError(f"eval.py {' '.join(command)} ended with {status}")
    return time.perf_counter() - started


def measure_network(bundle: PolicyBundle) -> Row:
    """What the network takes of a step."""
    batch, language = random_batch(bundle, 1, bundle.experiment.image_size, "cpu")
    policy = measured_policy(bundle).eval()
    with torch.inference_mode():
        seconds = median_seconds(lambda: policy.predict(batch.observation(), language), repeats=10)
    return Row("network, per step", 1000 * seconds, "ms")


if __name__ == "__main__":
    sys.exit(main())
