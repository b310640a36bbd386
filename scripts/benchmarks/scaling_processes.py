"""Rates by the number of worker processes and of ranks, with one thread each."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import benchmark_evaluation
import benchmark_loader
import torch
from benchmark_simulator import generation_seconds
from random_samples import random_batch
from rank_processes import measure_ranks
from scaling_series import Series

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import PolicyBundle, build_policy
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.optimizer import build_optimizer

COUNTS, QUICK_COUNTS = (1, 2, 4), (1, 2)


def process_series(quick: bool) -> Iterator[Series]:
    """Evaluation and demo generation by workers, gathering and training by ranks."""
    counts = QUICK_COUNTS if quick else COUNTS
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, quantity, unit, rates in (
            ("evaluation", "workers", "episodes/min", evaluation_rates(counts, quick)),
            ("demo generation", "workers", "demos/min", generation_rates(counts, quick)),
            ("gathering", "ranks", "samples/s", gathering_rates(counts, quick)),
            ("training step", "ranks", "samples/s", training_rates(counts, quick)),
        ):
            points = tuple(zip(map(float, counts), rates, strict=True))
            yield Series(name, quantity, points, unit, higher_is_better=True)
    finally:
        torch.set_num_threads(threads)


def tiny_bundle() -> PolicyBundle:
    """The network of the quick start."""
    return build_policy(load_experiment("configs/tiny.yaml"), load_network("configs/mvt/tiny.yaml"))


def evaluation_rates(counts: tuple[int, ...], quick: bool) -> Iterator[float]:
    """Closed-loop episodes per minute."""
    args = benchmark_evaluation.parse_arguments(["--quick"] if quick else [])
    args.workers = ",".join(map(str, counts))
    for row in benchmark_evaluation.measure_episodes(tiny_bundle(), args):
        yield row.value


def generation_rates(counts: tuple[int, ...], quick: bool) -> Iterator[float]:
    """Scripted demos per minute, images of keyframes only."""
    demos = 2 if quick else 32
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            yield 60 * demos / generation_seconds(Path(folder) / str(count), demos, count)


def gathering_rates(counts: tuple[int, ...], quick: bool) -> Iterator[float]:
    """Samples per second of ranks that read one store."""
    options = benchmark_loader.parse_arguments(["--quick"] if quick else [])
    with tempfile.TemporaryDirectory() as folder:
        dataset = benchmark_loader.open_dataset(options, Path(folder)).dataset
        for count in counts:
            measure = functools.partial(benchmark_loader.rank_rate, dataset, options)
            yield sum(measure_ranks(measure, count))


def training_rates(counts: tuple[int, ...], quick: bool) -> Iterator[float]:
    """Samples per second of training steps whose gradients all ranks share (tiny network)."""
    for count in counts:
        yield sum(measure_ranks(functools.partial(train_rank, quick), count))


def train_rank(quick: bool, rank: int) -> float:
    """Samples per second of one rank."""
    keep_freed_memory()  # as training does
    bundle = tiny_bundle()
    values = bundle.experiment.peract
    samples, steps = (2, 1) if quick else (bundle.experiment.bs, 20)
    batch, language = random_batch(bundle, samples, bundle.experiment.image_size, "cpu")
    draws = TrainingNoise.sample(len(batch), torch.Generator().manual_seed(rank))
    world = DistributedContext(rank, torch.distributed.get_world_size(), torch.device("cpu"))
    module = world.share_gradients(bundle.policy.train())
    optimizer = build_optimizer(
        [p for p in module.parameters() if p.requires_grad],
        optimizer_type=values.optimizer_type,
        bnb=values.bnb,
        lr=values.lr,
    )

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        module(batch, language, draws).total.backward()
        optimizer.step()

    step()
    torch.distributed.barrier()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * len(batch) / (time.perf_counter() - started)
