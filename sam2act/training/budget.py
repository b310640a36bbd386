"""Numbers of a run that follow from its configuration and from the machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from sam2act.config.experiment import ExperimentConfig

LOGGER = logging.getLogger(__name__)
AUTOCAST_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TrainingBudget:
    """Numbers that follow from the experiment config and the number of processes."""

    rows: int  # samples per process and micro-batch
    accumulation: int  # micro-batches per update
    world_size: int
    updates_per_epoch: int
    epochs: int
    learning_rate: float

    @classmethod
    def from_config(cls, experiment: ExperimentConfig, world_size: int) -> TrainingBudget:
        """Derive the plan; the learning rate grows with the samples per update."""
        accumulation = experiment.peract.grad_accumulation
        samples = experiment.bs * world_size * accumulation
        return cls(
            rows=experiment.bs,
            accumulation=accumulation,
            world_size=world_size,
            updates_per_epoch=max(1, experiment.train_iter // samples),
            epochs=experiment.epochs,
            learning_rate=experiment.peract.lr * samples,
        )

    @property
    def samples_per_update(self) -> int:
        """Samples of all processes that one update sees."""
        return self.rows * self.accumulation * self.world_size

    @property
    def total_updates(self) -> int:
        """Updates of the whole run."""
        return self.updates_per_epoch * self.epochs


def autocast_dtype(experiment: ExperimentConfig, device: torch.device) -> torch.dtype | None:
    """The reduced precision that this device really trains in; None = float32.

    float16 autocast needs a GPU; on a CPU it is left off with one log line. `auto` takes bfloat16
    on GPUs that have it, else float16, and float32 on a CPU.
    """
    choice = experiment.peract.amp_dtype
    if not experiment.peract.amp or (choice == "auto" and device.type == "cpu"):
        return None
    if choice == "auto":
        choice = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if choice == "float16" and device.type == "cpu":
        LOGGER.info("peract.amp: float16 needs a GPU; training in float32 on this device")
        return None
    return AUTOCAST_DTYPES[choice]
