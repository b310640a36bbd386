"""The training loop, shared by all policies and stages.

It knows a policy that returns a loss and batches by number; nothing about robots or what a policy
is made of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sam2act.core.run_folder import RunFolder
from sam2act.core.types import Batch, LossOutput
from sam2act.policies.base import StartData
from sam2act.policies.checkpoint import PolicyBundle
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.checkpointer import Checkpointer
from sam2act.training.costs import CostMeter
from sam2act.training.figures import Figures
from sam2act.training.interrupts import NonFiniteGuard, StopRequest
from sam2act.training.keyframe_means import KeyframeMeans, keyframe_means
from sam2act.training.run_log import PACKAGE_LOGGER, RunLog
from sam2act.training.update import Updater
from sam2act.training.validation import ValidationData, validation_losses

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Where batches come from; batch number i is the same whoever asks for it."""

    training: Callable[[int, int], Iterator[Batch]]  # (first number, count) -> batches
    validation: ValidationData | None
    language: Tensor  # (instructions, L, D) on the device
    fingerprints: Mapping[str, str]  # trained task -> digest of its demonstrations
    # Every training sample once, before any transform, for statistics.
    samples: Callable[[], Iterator[Batch]] = lambda: iter(())


class Trainer:
    """Trains a policy to the end of its last epoch and keeps its run folder."""

    def __init__(
        self,
        bundle: PolicyBundle,
        data: TrainingData,
        world: DistributedContext,
        files: RunFolder,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        """The policy must be on `world.device` already.

        Args:
            bundle: policy and configs.
            data: batches and language table.
            world: this process.
            files: of the run.
            dtype: reduced precision of the forward pass (`autocast_dtype`); None = float32.
        """
        self.bundle, self.data, self.world, self.files = bundle, data, world, files
        self.experiment = bundle.experiment
        self.updater = Updater(
            bundle.policy,
            data.language,
            bundle.experiment,
            world,
            guard=NonFiniteGuard(files.folder),
            by_keyframe=self._keyframe_means(),
            dtype=dtype,
        )
        self.checkpointer = Checkpointer(files, bundle, self.updater, data.fingerprints)
        self.costs = CostMeter(files.costs, bundle.policy, world.device)

    @property
    def finished(self) -> bool:
        """Whether all updates are done."""
        return self.updater.state.step >= self.updater.budget.total_updates

    def start_data(self) -> StartData:
        """What the policy may look at before the first update."""
        return StartData(
            self.data.training, self.data.language, self.world.device, self.world.copy_from_main
        )

    def run(self, log: RunLog) -> bool:
        """Train to the end of the last epoch.

        Args:
            log: where figures go.

        Returns:
            True when finished; False when Ctrl-C or a termination signal ended it (saved).

        Raises:
            NonFiniteLossError: the loss became NaN or infinite.
        """
        state, budget = self.updater.state, self.updater.budget
        self.costs.start(resumed=state.step > 0)
        remaining = budget.total_updates - state.step
        batches = self.data.training(
            state.step * budget.accumulation, remaining * budget.accumulation
        )
        with (
            StopRequest().listening() as stop,
            self._progress() as progress,
            logging_redirect_tqdm([logging.getLogger(PACKAGE_LOGGER)]),
        ):
            figures = Figures(log, self.updater, progress)
            while not self.finished:
                epoch = state.step // budget.updates_per_epoch
                if not self._run_epoch(batches, figures, stop):
                    self.save_last(epoch - 1)
                    self.write_costs()
                    LOGGER.info(
                        "stopped after update %d, saved %s; the same command continues",
                        state.step,
                        self.files.last,
                    )
                    return False
                self._end_epoch(epoch, figures)
        LOGGER.info("done: %d updates, the policy is %s", state.step, self.files.last)
        return True

    def _run_epoch(self, batches: Iterator[Batch], figures: Figures, stop: StopRequest) -> bool:
        """Updates until the end of the epoch; False if any process was asked to stop."""
        figures.restart()
        state = self.updater.state
        while True:
            figures.add(self.updater.update(batches))
            epoch_ends = state.step % self.updater.budget.updates_per_epoch == 0
            if state.step % self.experiment.log_every == 0 or epoch_ends:
                figures.write(console=epoch_ends)
            if epoch_ends:
                return True
            if self.world.any(bool(stop)):
                return False

    def update(self, batches: Iterator[Batch]) -> LossOutput:
        """One optimiser step; the returned loss is the mean over its micro-batches."""
        return self.updater.update(batches)

    def save_last(self, epoch: int) -> None:
        """Write the checkpoint that a resume continues from; `epoch` = last finished one."""
        self.checkpointer.save("last", epoch)

    def write_costs(self) -> None:
        """Store what the run has cost so far."""
        if self.world.is_main:
            self.costs.write(self.updater.state.step, self.updater.budget.total_updates)

    def _end_epoch(self, epoch: int, figures: Figures) -> None:
        self.checkpointer.save(epoch, epoch)
        if self.data.validation is not None and (epoch + 1) % self.experiment.validation.every == 0:
            self._validate(epoch, self.data.validation, figures)
        self.save_last(epoch)
        self.write_costs()
        self.world.barrier()

    def _validate(self, epoch: int, data: ValidationData, figures: Figures) -> None:
        """Log the loss on held-out samples; keep the weights with the lowest one."""
        by_keyframe = self._keyframe_means()
        with self.updater.averaged():
            values = validation_losses(
                self.bundle.policy,
                data,
                self.data.language,
                self.world,
                seed=self.experiment.seed,
                autocast=self.updater.autocast,
                by_keyframe=by_keyframe,
            )
        figures.write_validation(values, by_keyframe)
        state = self.updater.state
        if values["validation_total_loss"] < state.best_validation:
            state.best_validation = values["validation_total_loss"]
            self.checkpointer.save("best", epoch)

    def _keyframe_means(self) -> KeyframeMeans | None:
        names = self.bundle.policy.sample_value_names
        return keyframe_means(tuple(self.data.fingerprints), names, self.world.device)

    def _progress(self) -> tqdm:
        return tqdm(
            total=self.updater.budget.total_updates,
            initial=self.updater.state.step,
            desc="training",
            unit="update",
            disable=not self.world.is_main,
            smoothing=0.05,
            mininterval=1.0,
        )
