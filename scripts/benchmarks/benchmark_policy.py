#!/usr/bin/env python3
"""Time of acting with the full-size network: from an observation to an action.

    python scripts/benchmarks/benchmark_policy.py --json FILE [--quick]
        [--device cuda] [--compile default]

Baselines: the published network on two CPU threads (forward of both branches at batch 1: 3.15 s),
which leaves out rendering and 3-D arg-max where ours includes them and is comparable on a similar
CPU only; everything else is compared within the run.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from benchmarking import (
    QUICK_NETWORK,
    Row,
    add_device,
    build_parser,
    compare_seconds,
    gigaflops_of,
    matrix_rate,
    median_seconds,
    report,
)
from random_samples import measured_policy, random_batch

from sam2act.config.experiment import COMPILE_MODES
from sam2act.config.load import load_experiment, load_network
from sam2act.nn import linear
from sam2act.policies.checkpoint import PolicyBundle, build_policy
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.console import make_output_safe

PUBLISHED_FORWARD_SECONDS = 3.15
PUBLISHED = "published network, 2 CPU threads"
PLAIN = "float32"
BATCHES = (2, 4, 8)


class Sizes(NamedTuple):
    """What is measured."""

    network_opts: str
    image_size: int
    repeats: int
    matrix_side: int = 2048


FULL = Sizes("sam2_ckpt ''", 128, 5)
QUICK = Sizes(f"sam2_ckpt '' {QUICK_NETWORK}", 32, 1, 256)


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    parser = build_parser(__doc__)
    add_device(parser)
    parser.add_argument(
        "--compile",
        default="",
        choices=COMPILE_MODES,
        help="also measure this mode of torch.compile",
    )
    args = parser.parse_args(arguments)
    sizes = QUICK if args.quick else FULL
    if args.device == "cpu":
        keep_freed_memory()  # as eval.py does
    rows = list(measure(sizes, args.device, args.compile))
    if args.quick:  # another network than the one that was published
        rows[0] = dataclasses.replace(rows[0], baseline=None, baseline_name="")
    report(f"{'quick ' if args.quick else ''}policy, {args.device}", rows, args.json)
    return 0


def build(sizes: Sizes, device: str, experiment_opts: str = "") -> PolicyBundle:
    """The published network with random weights."""
    bundle = build_policy(
        load_experiment("configs/sam2act.yaml", experiment_opts),
        load_network("configs/mvt/sam2act.yaml", sizes.network_opts),
    )
    bundle.policy.to(device).eval()
    bundle.policy.compile_network(bundle.experiment.eval.compile)
    return bundle


def acting(bundle: PolicyBundle, count: int, sizes: Sizes, device: str) -> Callable[[], object]:
    """A call for `count` observations: unprojection, rendering, network, arg-max."""
    batch, language = random_batch(bundle, count, sizes.image_size, device)
    act = functools.partial(measured_policy(bundle).predict, batch.observation(), language)
    return torch.inference_mode()(act)


def ways(
    plain: PolicyBundle, sizes: Sizes, device: str, mode: str
) -> dict[str, Callable[[], object]]:
    """Calls for one observation, by what is different from the plain one."""
    act = acting(plain, 1, sizes, device)

    def act_by_torch() -> None:
        with mock.patch.object(linear, "LEAST_PRODUCTS", math.inf):
            act()

    found = {PLAIN: act, "bfloat16": torch.autocast(device, torch.bfloat16)(act)}
    if device == "cpu":
        found["F.linear instead of oneDNN"] = act_by_torch
    if mode:
        compiled = build(sizes, device, f"eval.compile {mode}")
        found[f"compiled ({mode})"] = acting(compiled, 1, sizes, device)
    return found


def measure(sizes: Sizes, device: str, mode: str) -> Iterator[Row]:
    """One observation in several ways (in turn), batches, and where the time goes."""
    plain = build(sizes, device)
    calls = ways(plain, sizes, device, mode)
    seconds = compare_seconds(list(calls.values()), repeats=sizes.repeats, device=device)
    alone, *others = seconds
    yield Row(f"act, batch 1, {PLAIN}", alone, "s", PUBLISHED_FORWARD_SECONDS, PUBLISHED)
    for name, other in zip(list(calls)[1:], others, strict=True):
        yield Row(f"act, batch 1, {name}", other, "s", alone, PLAIN)
    yield from floor_rows(plain, sizes, device)
    yield from measure_parts(plain, sizes, device)
    for count in BATCHES:
        batched = acting(plain, count, sizes, device)
        each = median_seconds(batched, repeats=sizes.repeats, device=device) / count
        yield Row(f"act, {PLAIN}, per observation of {count}", each, "s", alone, "batch 1")


def floor_rows(bundle: PolicyBundle, sizes: Sizes, device: str) -> Iterator[Row]:
    """The time that the operations of the network would take at the rate of a matrix product."""
    batch, language = random_batch(bundle, 1, sizes.image_size, device)
    policy = measured_policy(bundle)
    with torch.no_grad():
        gigaflops = gigaflops_of(lambda: policy.predict(batch.observation(), language))
    yield Row("operations of act, batch 1", gigaflops, "GFLOP")
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        rate = matrix_rate(device, dtype, sizes.matrix_side)
        yield Row(f"matrix product, {name}", rate, "GFLOP/s")
        yield Row(f"floor of act, {name}: operations / rate", gigaflops / rate, "s")


def measure_parts(bundle: PolicyBundle, sizes: Sizes, device: str) -> Iterator[Row]:
    """What one call spends where, both branches together."""
    network = measured_policy(bundle).network
    parts: dict[str, list[tuple[Any, str]]] = {
        "rendering": [(network, "render")],
        "image encoder": [(network, "encode")],
        "multi-view transformers": [(b, "tokens") for b in (network.coarse, network.fine)],
        "upsampling": [(b, "heatmaps") for b in (network.coarse, network.fine)],
        "arg-max": [(network, "peak")],
    }
    act = acting(bundle, 1, sizes, device)
    act()
    with stopwatch(parts, device) as seconds:
        whole = median_seconds(act, repeats=sizes.repeats, warm_up=0, device=device)
    yield Row("act, batch 1, its parts timed", whole, "s")
    for name in parts:
        yield Row(f"of which {name}", seconds[name] / sizes.repeats, "s")


@contextmanager
def stopwatch(parts: dict[str, list[tuple[Any, str]]], device: str) -> Iterator[dict[str, float]]:
    """Adds up the time spent in methods, while the context lasts."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = now(device)
            result = method(*args, **kwargs)
            seconds[name] += now(device) - started
            return result

        return call

    for name, methods in parts.items():
        for owner, method in methods:
            owner.__dict__[method] = timed(name, getattr(owner, method))
    try:
        yield seconds
    finally:
        for methods in parts.values():
            for owner, method in methods:
                del owner.__dict__[method]


def now(device: str) -> float:
    """The time when all work on the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    sys.exit(main())
