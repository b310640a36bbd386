"""Measures the data path: building a store, gathering batches, and the loader with workers.

Demos are taken from --data-folder, or made up if none is given. All figures of one run share
hardware, store and batch size; the in-process loader is the baseline of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sam2act.data.dataset import KeyframeDataset, make_loader
from sam2act.data.samplers import build_sampler
from sam2act.data.store_builder import StoreRequest, ensure_store

WARM_UP = 5  # batches before the clock starts


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="few batches, small bs")
    parser.add_argument("--data-folder", type=Path, help="recorded demos, <split>/<task>/...")
    parser.add_argument("--split", default="train", help="sub-folder of the demos")
    parser.add_argument("--task", default="open_drawer", help="task to measure with")
    parser.add_argument("--demo", type=int, default=3, help="demos in the store")
    parser.add_argument("--bs", type=int, default=16, help="samples per batch")
    parser.add_argument("--batches", type=int, default=200, help="batches per measurement")
    parser.add_argument("--workers", default="1,2", help="worker counts to compare")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs all measurements and prints them."""
    options = parse_arguments(arguments)
    if options.quick:
        options.bs, options.batches, options.demo = 8, 30, min(options.demo, 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = _measure(options, Path(folder))
    finally:
        torch.set_num_threads(threads)
    print(json.dumps(figures, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


def _measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    data_folder, source = options.data_folder, "recorded demos"
    if data_folder is None:
        data_folder, source = folder / "demos", "made-up demos"
        _make_demos(data_folder, options)
    request = StoreRequest(data_folder, folder / "store", split=options.split, demo=options.demo)
    started = time.perf_counter()
    store = ensure_store(request, [options.task], progress=False)
    seconds = time.perf_counter() - started
    sampler = build_sampler("task_uniform", store, bs=options.bs, seed=0)
    dataset = KeyframeDataset(store, sampler, bs=options.bs)
    figures: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "source": source,
        "bs": options.bs,
        "batches": options.batches,
        "build_seconds_per_demo": seconds / options.demo,
        "store_megabytes_per_record": store.task_stores[0].num_bytes / 1e6 / len(store.valid),
        "samples_per_second": {"batch() alone": _rate_alone(dataset, options)},
    }
    for workers in (0, *map(int, options.workers.split(","))):
        name = f"loader, {workers} workers" if workers else "loader, in process (baseline)"
        figures["samples_per_second"][name] = _rate_of_loader(dataset, options, workers)
    return figures


def _make_demos(folder: Path, options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
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


def _rate_alone(dataset: KeyframeDataset, options: argparse.Namespace) -> float:
    for step in range(WARM_UP):
        dataset.batch(step)
    started = time.perf_counter()
    for step in range(options.batches):
        dataset.batch(step)
    return options.bs * options.batches / (time.perf_counter() - started)


def _rate_of_loader(dataset: KeyframeDataset, options: argparse.Namespace, workers: int) -> float:
    loader = make_loader(dataset, 0, WARM_UP + options.batches, num_workers=workers)
    batches = iter(loader)
    for _ in range(WARM_UP):
        next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in batches)
    return options.bs * count / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
