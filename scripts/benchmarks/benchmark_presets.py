#!/usr/bin/env python3
"""Acting with every policy that reads rendered views: time and peak memory of one observation.

    python scripts/benchmarks/benchmark_presets.py --json FILE [--quick] [--only NAME ...]

Each preset is measured in a process of its own, with random weights, in float32 on the CPU. The
baseline is SAM2Act, measured in the same run.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
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
}
QUICK = ("sam2act", "rvt2")
KILOBYTES = 1024  # per unit of ru_maxrss: kilobytes on Linux
REPEATS = 5


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    parser = build_parser(__doc__)
    parser.add_argument("--only", nargs="+", default=list(PRESETS), metavar="NAME")
    parser.add_argument("--alone", default="", help="measure this preset in this process")
    args = parser.parse_args(arguments)
    if args.alone:
        print(json.dumps(measure(args.alone, quick=args.quick)))
        return 0
    names = [name for name in args.only if not args.quick or name in QUICK]
    report(
        f"{'quick ' if args.quick else ''}presets, cpu", list(rows(names, args.quick)), args.json
    )
    return 0


def rows(names: list[str], quick: bool) -> Iterator[Row]:
    """Seconds and megabytes of every preset, beside those of the baseline."""
    found = {name: measured_alone(name, quick) for name in dict.fromkeys([BASELINE, *names])}
    base = found[BASELINE]
    for name, (parameters, seconds, megabytes) in found.items():
        against = (BASELINE,) if name != BASELINE else ()
        yield Row(f"{name}: parameters", parameters / 1e6, "million")
        yield Row(f"{name}: act, batch 1", seconds, "s", *(base[1:2] if against else ()), *against)
        yield Row(f"{name}: peak memory", megabytes, "MB", *(base[2:] if against else ()), *against)


def measured_alone(name: str, quick: bool) -> list[float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--alone", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{name} cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(name: str, *, quick: bool) -> list[float]:
    """Parameters, seconds per observation and peak memory of this process in MB."""
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
    seconds = median_seconds(torch.inference_mode()(act), repeats=1 if quick else REPEATS)
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTES / 1e6
    return [parameters, seconds, peak]


if __name__ == "__main__":
    sys.exit(main())
