"""Process groups: torchrun with NCCL or gloo, or one plain process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

PREPARATION_TIMEOUT = timedelta(hours=6)  # rank 0 may build stores of thousands of demos


@dataclass(frozen=True)
class World:
    """This process among all processes of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True on the one process that writes files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over all processes (in place)."""
        if self.size > 1:
            dist.all_reduce(values)
        return values


@contextmanager
def distributed_world(device: str = "") -> Iterator[World]:
    """Join the process group that torchrun describes; a single process without torchrun.

    Args:
        device: for example "cpu" or "cuda:1"; empty = a GPU per process where there are any.

    Raises:
        RuntimeError: torchrun set only some of its variables.
    """
    present = [name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if name in os.environ]
    if 0 < len(present) < 3:
        raise RuntimeError(
            f"only {', '.join(present)} of RANK, WORLD_SIZE and LOCAL_RANK are set; start with "
            "torchrun, or unset them to train in one process"
        )
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = _choose_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size == 1:
        yield World(rank, size, chosen)
        return
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PREPARATION_TIMEOUT)
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


def _choose_device(device: str, local_rank: int) -> torch.device:
    if device:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return torch.device("cpu")
