"""Process groups: torchrun with NCCL or gloo, or one plain process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sam2act.core.errors import ConfigError
from sam2act.runtime.devices import choose_device

PREPARATION_TIMEOUT = timedelta(hours=6)  # rank 0 may build stores of thousands of demos
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass(frozen=True)
class DistributedContext:
    """This process among all processes of the run.

    `control` is a group on the CPU for what must not wait for the GPU or time out while data is
    prepared; None in a single process.
    """

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """True on the one process that writes files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes, however long they prepare."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any process; all get the same answer. CPU only."""
        if self.size == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.control)
        return bool(flags)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over all processes (in place)."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather_to_main(self, value: Any) -> list[Any]:
        """The values of all processes on the main one, in the order of ranks; elsewhere empty."""
        if self.size == 1:
            return [value]
        gathered = [None] * self.size if self.is_main else None
        dist.gather_object(value, gathered, group=self.control)
        return gathered or []

    def share_gradients(self, module: nn.Module, *, some_unused: bool = False) -> nn.Module:
        """The module, whose gradients become the mean over all processes.

        Args:
            module: called like before; lies on `device`.
            some_unused: parameters may be left out of a forward pass.
        """
        if self.size == 1:
            return module
        # An axis of length one may have any stride; equal layouts are called different for it.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            module, device_ids=devices, find_unused_parameters=some_unused
        )

    def copy_from_main(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors by those of the main process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


@contextmanager
def distributed_context(
    device: str = "", patience: timedelta = PREPARATION_TIMEOUT
) -> Iterator[DistributedContext]:
    """Join the process group that torchrun describes; a single process without torchrun.

    Args:
        device: as `choose_device` reads it.
        patience: how long processes wait for each other on the CPU.

    Raises:
        ConfigError: torchrun set only some of its variables, or there is no such device.
    """
    present = [name for name in TORCHRUN_VARIABLES if name in os.environ]
    if 0 < len(present) < len(TORCHRUN_VARIABLES):
        raise ConfigError(
            f"only {', '.join(present)} of {', '.join(TORCHRUN_VARIABLES)} are set; start with "
            "torchrun, or unset them to train in one process"
        )
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)), size)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size == 1:
        yield DistributedContext(rank, size, chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        control = dist.new_group(backend="gloo", timeout=patience)
        yield DistributedContext(rank, size, chosen, control)
    finally:
        dist.destroy_process_group()
