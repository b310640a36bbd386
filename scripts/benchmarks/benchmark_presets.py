#!/usr/bin/env python3
"""Acting with every policy that reads rendered views: time and peak memory of one observation.

    python scripts/benchmarks/benchmark_presets.py --json FILE [--quick] [--only NAME ...]

Each preset is measured in a process of its own, with random weights, in float32 on the CPU. The
peak is that of the whole process, torch included. CPU seconds, over all threads, say more than wall
time where other programs run. The baseline is SAM2Act, measured in the same run.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from benchmarking import Row, build_parser, median_seconds, report
from random_samples import random_batch

from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.multiview.policy import MultiviewPolicy
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.console import make_output_safe

BASELINE = "sam2act"
# Network preset -> experiment preset; of each the tiny twin is measured with --quick.
PRESETS = {
    "sam2act": "sam2act",
    "ablation_no_multires": "sam2act",
    "ablation_convex14": "sam2act",
    "ablation_dinov2": "sam2act",
    "ablation_depth_anything_v2": "sam2act",
    "ablation_sam": "sam2act",
    "rvt2": "rvt2",
    "rvt": "rvt",
    "sam_e": "sam_e",
}
QUICK = ("sam2act", "rvt2")
KILOBYTES = 1024  # per unit of ru_maxrss: kilobytes on Linux
REPEATS = 3
FIGURES = (
    ("parameters", "million"),
    ("act, batch 1", "s"),
    ("act, batch 1, CPU", "s"),
    ("peak memory", "MB"),
)


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    parser = build_parser(__doc__)
    parser.add_argument("--only", nargs="+", default=list(PRESETS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="calls after the first")
    parser.add_argument("--alone", default="", help="measure this preset in this process")
    args = parser.parse_args(arguments)
    if args.alone:
        print(json.dumps(measure(args.alone, args.repeats, quick=args.quick)))
        return 0
    names = [name for name in args.only if not args.quick or name in QUICK]
    title = f"{'quick ' if args.quick else ''}presets, cpu"
    report(title, list(rows(names, args.repeats, args.quick)), args.json)
    return 0


def rows(names: list[str], repeats: int, quick: bool) -> Iterator[Row]:
    """The figures of every preset, beside those of the baseline."""
    found = {
        name: measured_alone(name, repeats, quick) for name in dict.fromkeys([BASELINE, *names])
    }
    for name, figures in found.items():
        for (title, unit), value, base in zip(FIGURES, figures, found[BASELINE], strict=True):
            row = Row(f"{name}: {title}", value, unit)
            if name != BASELINE:
                row = dataclasses.replace(row, baseline=base, baseline_name=BASELINE)
            yield row


def measured_alone(name: str, repeats: int, quick: bool) -> list[float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--alone", name, "--repeats", str(repeats)]
    command += ["--quick"] if quick else []
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise ConfigError(f"{name} cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(name: str, repeats: int, *, quick: bool) -> list[float]:
    """The values of `FIGURES`."""
    keep_freed_memory()  # as eval.py does
    experiment, network = PRESETS[name], name
    if quick:
        experiment, network = "tiny", "tiny" if name == BASELINE else f"tiny_{name}"
    bundle = build_policy(
        load_experiment(f"configs/{experiment}.yaml"), load_network(f"configs/mvt/{network}.yaml")
    )
    policy = bundle.policy.eval()
    assert isinstance(policy, MultiviewPolicy)
    batch, language = random_batch(bundle, 1, bundle.experiment.image_size, "cpu")
    act = functools.partial(policy.predict, batch.observation(), language)
    started = time.process_time()
    seconds = median_seconds(torch.inference_mode()(act), repeats=repeats)
    cpu_seconds = (time.process_time() - started) / (repeats + 1)  # with that of the warm-up
    parameters = sum(parameter.numel() for parameter in policy.parameters()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTES / 1e6
    return [parameters, seconds, cpu_seconds, peak]


if __name__ == "__main__":
    sys.exit(main())
