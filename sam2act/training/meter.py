"""Means of losses: over the micro-batches of an update, and over the updates since a reading."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from sam2act.core.types import LossOutput
from sam2act.training.run_log import as_numbers


class Meter:
    """Means of the losses since the last reading, summed on the device."""

    def __init__(self, samples_per_update: int) -> None:
        self._samples = samples_per_update
        self._clear()

    def _clear(self) -> None:
        self._start, self._count = time.perf_counter(), 0
        self._sums: dict[str, Tensor] = {}

    def add(self, output: LossOutput) -> None:
        """Add one update."""
        self._count += 1
        for name, value in {"total_loss": output.total.detach(), **output.terms}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()

    def read(self) -> dict[str, float]:
        """Means and samples per second since the last call; waits for the device."""
        values = as_numbers({name: value / self._count for name, value in self._sums.items()})
        seconds = time.perf_counter() - self._start
        values["samples_per_second"] = self._samples * self._count / seconds
        self._clear()
        return values


def mean_output(outputs: list[LossOutput]) -> LossOutput:
    """The mean over micro-batches, detached."""
    names = outputs[0].terms
    return LossOutput(
        torch.stack([output.total.detach() for output in outputs]).mean(),
        {name: torch.stack([output.terms[name] for output in outputs]).mean() for name in names},
    )
