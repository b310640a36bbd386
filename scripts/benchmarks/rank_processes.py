"""Runs a measurement in several processes at once, connected as the ranks of a training run are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn


def measure_ranks(measure: Callable[[int], float], ranks: int) -> list[float]:
    """`measure(rank)` of every rank, each in a process with one thread; gloo connects them.

    Args:
        measure: can be pickled; starts its clock behind a barrier.
        ranks: number of processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        spawn(_run_rank, (ranks, Path(folder), measure), nprocs=ranks)
        return [
            float(_result(Path(folder), rank).read_text(encoding="utf-8")) for rank in range(ranks)
        ]


def _run_rank(rank: int, ranks: int, folder: Path, measure: Callable[[int], float]) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    _result(folder, rank).write_text(str(measure(rank)), encoding="utf-8")
    torch.distributed.barrier()  # nobody's clock runs while another one shuts down
    torch.distributed.destroy_process_group()


def _result(folder: Path, rank: int) -> Path:
    return folder / f"result_{rank}"
