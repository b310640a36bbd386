#!/usr/bin/env python3
"""Measures the data path: building a store, gathering batches, and the loader with workers.

    python scripts/benchmarks/benchmark_loader.py --json FILE [--quick] [--data-folder DEMOS]

Demos are taken from --data-folder, or made up at the published size if none is given. Baselines
of the same run: decoding the PNGs of the same samples, the loader without workers, one worker for
two, one rank for two (connected by gloo, sharing one store). The figures
of the published replay buffer (build 0.8 s to 1.9 s per demo, 1.668 MB per record) were measured
on two cores of another machine.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from benchmarking import Row, build_parser, report
from rank_processes import measure_ranks

from sam2act.data.loader import KeyframeDataset, make_loader
from sam2act.data.rlbench.demo_folders import episode_folders
from sam2act.data.rlbench.demo_images import read_images
from sam2act.data.samplers import build_sampler
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.console import make_output_safe

WARM_UP = 5  # batches before the clock starts
DECODED_BATCHES = 5  # batches of the slow baseline
PUBLISHED_BUILD_SECONDS, PUBLISHED_MEGABYTES = 0.8, 1.668
PUBLISHED = "published replay buffer"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = build_parser(__doc__)
    parser.add_argument("--data-folder", type=Path, help="recorded demos, <split>/<task>/...")
    parser.add_argument("--split", default="train", help="sub-folder of the demos")
    parser.add_argument("--task", default="open_drawer", help="task to measure with")
    parser.add_argument("--demo", type=int, default=3, help="demos in the store")
    parser.add_argument("--bs", type=int, default=16, help="samples per batch")
    parser.add_argument("--batches", type=int, default=1000, help="batches per measurement")
    parser.add_argument("--workers", default="1,2", help="worker counts to compare")
    options = parser.parse_args(arguments)
    if options.quick:
        options.bs, options.batches, options.demo = 8, 30, min(options.demo, 2)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measures and reports."""
    make_output_safe()
    options = parse_arguments(arguments)
    keep_freed_memory()  # as training on a CPU does
    source = "recorded" if options.data_folder else "made-up"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = _measure(options, Path(folder))
        report(f"data path, {source} demos, batches of {options.bs}", rows, options.json)
    finally:
        torch.set_num_threads(threads)
    return 0


def _measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    dataset, request, seconds = open_dataset(options, folder)
    store = dataset.store
    megabytes = store.task_stores[0].num_bytes / 1e6 / len(store.valid)
    in_process = _loader_rate(dataset, options, 0)
    decoding = _decoding_rate(dataset, request, options)
    rows = [
        Row("build", seconds, "s/demo", PUBLISHED_BUILD_SECONDS, PUBLISHED),
        Row("store", megabytes, "MB/record", PUBLISHED_MEGABYTES, PUBLISHED),
        _rate_row("batch() alone", _batch_rate(dataset, options), decoding, "decoding PNGs"),
        _rate_row("loader, in process", in_process, decoding, "decoding PNGs"),
    ]
    rows.append(Row("memory after the batches / before", _memory_growth(dataset, options), "x"))
    rows.append(Row("first batch, in process", _first_batch_seconds(dataset, 0), "s"))
    baseline, name = in_process, "in process"
    for workers in map(int, options.workers.split(",")):
        rate = _loader_rate(dataset, options, workers)
        rows.append(_rate_row(f"loader, workers: {workers}", rate, baseline, name))
        rows.append(
            Row(f"first batch, workers: {workers}", _first_batch_seconds(dataset, workers), "s")
        )
        baseline, name = rate, f"workers: {workers}"
    measure = functools.partial(rank_rate, dataset, options)
    alone, together = (sum(measure_ranks(measure, ranks)) for ranks in (1, 2))
    rows.append(_rate_row("2 ranks, each in process", together, alone, "1 rank"))
    return rows


class Opened(NamedTuple):
    """A data set, what it was built from, and how long that took per demo."""

    dataset: KeyframeDataset
    request: StoreRequest
    seconds: float


def open_dataset(options: argparse.Namespace, folder: Path) -> Opened:
    """Builds the store of the demos and opens it."""
    data_folder = options.data_folder or _make_demos(folder / "demos", options)
    request = StoreRequest(data_folder, folder / "store", split=options.split, demo=options.demo)
    started = time.perf_counter()
    store = ensure_store(request, [options.task], progress=False)
    seconds = (time.perf_counter() - started) / len(set(store.table["episode"].tolist()))
    sampler = build_sampler("task_uniform", store, bs=options.bs, seed=0)
    return Opened(KeyframeDataset(store, sampler, bs=options.bs), request, seconds)


def _memory_growth(dataset: KeyframeDataset, options: argparse.Namespace) -> float:
    """Resident memory of this process after many batches over that after a few."""

    def resident() -> int:
        fields = Path("/proc/self/statm").read_text(encoding="utf-8").split()
        return int(fields[1]) - int(fields[2])  # without pages of files, such as the store's

    _batch_rate(dataset, options)
    before = resident()
    for _ in range(5):
        _batch_rate(dataset, options)
    return resident() / before


def _first_batch_seconds(dataset: KeyframeDataset, workers: int) -> float:
    """From the decision to train until the first batch, on a built store."""
    started = time.perf_counter()
    next(iter(make_loader(dataset, 0, 1, num_workers=workers, start_method="spawn")))
    return time.perf_counter() - started


def rank_rate(dataset: KeyframeDataset, options: argparse.Namespace, rank: int) -> float:
    """Samples per second of one of several ranks that gather at the same time."""
    keep_freed_memory()
    dataset.rank = rank
    _batch_rate(dataset, options)  # maps the pages of the store into this process
    torch.distributed.barrier()
    return _batch_rate(dataset, options)


def _rate_row(name: str, rate: float, baseline: float, baseline_name: str) -> Row:
    return Row(name, rate, "samples/s", baseline, baseline_name, higher_is_better=True)


def _make_demos(folder: Path, options: argparse.Namespace) -> Path:
    """Demos with the image size, cameras and length of recorded ones."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.data.synthetic_demos import write_synthetic_task

    write_synthetic_task(
        folder,
        task=options.task,
        split=options.split,
        episodes=options.demo,
        keyframes=(70, 85, 124),
        cameras=StoreRequest.cameras,
        image_size=StoreRequest.image_size,
    )
    return folder


def _batch_rate(dataset: KeyframeDataset, options: argparse.Namespace) -> float:
    for step in range(WARM_UP):
        dataset.batch(step)
    started = time.perf_counter()
    for step in range(options.batches):
        dataset.batch(step)
    rate: float = options.bs * options.batches / (time.perf_counter() - started)
    return rate


def _loader_rate(dataset: KeyframeDataset, options: argparse.Namespace, workers: int) -> float:
    loader = make_loader(dataset, 0, WARM_UP + options.batches, num_workers=workers)
    batches = iter(loader)
    for _ in range(WARM_UP):
        next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in batches)
    rate: float = options.bs * count / (time.perf_counter() - started)
    return rate


def _decoding_rate(
    dataset: KeyframeDataset, request: StoreRequest, options: argparse.Namespace
) -> float:
    """Images only, straight from the PNGs."""
    folders = episode_folders(request.data_folder, request.split, options.task)
    started = time.perf_counter()
    for step in range(DECODED_BATCHES):
        for sample in dataset.batch(step).identities:
            folder = folders[sample.episode]
            read_images(folder, [sample.frame], request.cameras, request.image_size)
    rate: float = options.bs * DECODED_BATCHES / (time.perf_counter() - started)
    return rate


if __name__ == "__main__":
    sys.exit(main())
