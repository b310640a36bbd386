"""The training loop, shared by both stages.

It knows a policy that returns a loss, batches by step number, and nothing about robots. Everything
random is a pure function of (seed, step), so a resumed run repeats the run that was interrupted.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sam2act.core.types import KeyframeBatch, LossOutput
from sam2act.policies.checkpoint import (
    CheckpointError,
    PolicyBundle,
    config_extra,
    save_checkpoint,
)
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.sam2act.published_weights import LoadReport
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.budget import TrainingBudget
from sam2act.training.ema import WeightAverage
from sam2act.training.interrupts import NonFiniteGuard, StopRequest
from sam2act.training.keyframe_means import (
    KeyframeMeans,
    keyframe_columns,
    keyframe_means,
    largest_means,
)
from sam2act.training.meter import Meter, mean_output
from sam2act.training.optimizer import build_optimizer
from sam2act.training.optimizer_state import restore_optimizer
from sam2act.training.run_log import PACKAGE_LOGGER, RunLog
from sam2act.training.schedule import WarmupCosine
from sam2act.training.seeding import seed_step, step_generator
from sam2act.training.validation import ValidationData, validation_losses

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Where batches come from; batch number i is the same whoever asks for it."""

    training: Callable[[int, int], Iterator[KeyframeBatch]]  # (first number, count) -> batches
    validation: ValidationData | None
    language: Tensor  # (instructions, L, lang_dim) on the device
    fingerprints: Mapping[str, str]  # trained task -> digest of its demonstrations


class Trainer:
    """Optimises a policy and keeps its run folder."""

    def __init__(
        self,
        bundle: PolicyBundle,
        data: TrainingData,
        world: DistributedContext,
        folder: Path,
        *,
        dtype: torch.dtype | None = None,
        prefix: str = "model",
    ) -> None:
        """The policy must be on `world.device` already.

        Args:
            bundle: policy and configs.
            data: batches and language table.
            world: this process.
            folder: run folder.
            dtype: reduced precision of the forward pass (`autocast_dtype`); None = float32.
            prefix: start of the checkpoint names.
        """
        self.bundle, self.data, self.world = bundle, data, world
        self.folder, self.prefix = folder, prefix
        self.experiment = bundle.experiment
        self.plan = TrainingBudget.from_config(self.experiment, world.size)
        self.dtype = dtype
        self.optimizer = self._build_optimizer()
        self.schedule = WarmupCosine(
            self.optimizer,
            base=self.plan.learning_rate,
            warmup_steps=self.experiment.peract.warmup_steps,
            total_steps=self.plan.total_updates,
            cosine=self.experiment.peract.lr_cos_dec,
        )
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.dtype == torch.float16)
        decay = self.experiment.peract.ema
        self.average = WeightAverage(bundle.policy, decay) if decay else None
        bundle.policy.compile_network(self.experiment.peract.compile)
        self.module = world.share_gradients(
            bundle.policy,
            # Without the action losses the head gets no gradient.
            some_unused=not self.experiment.peract.add_rgc_loss,
        )
        self.guard = NonFiniteGuard(folder)
        self.by_keyframe = self._keyframe_means()
        self.step = 0  # updates done
        self.started_from = ""  # file that the first weights came from
        self.after_saving: Callable[[], None] = lambda: None  # what belongs to the new files
        self.best_validation = float("inf")

    def _keyframe_means(self) -> KeyframeMeans | None:
        names = self.bundle.policy.sample_value_names
        return keyframe_means(tuple(self.data.fingerprints), names, self.world.device)

    def _build_optimizer(self) -> torch.optim.Optimizer:
        values = self.experiment.peract
        return build_optimizer(
            self.bundle.policy.parameter_groups(),
            optimizer_type=values.optimizer_type,
            bnb=values.bnb,
            lr=self.plan.learning_rate,
            betas=values.betas,
            weight_decay=values.lambda_weight_l2,
            zero_norm_escape=values.zero_norm_escape,
        )

    # --------------------------------------------------------------------------------- running
    def run(self, log: RunLog) -> bool:
        """Train to the end of the last epoch.

        Args:
            log: where figures go.

        Returns:
            True when finished; False when Ctrl-C or a termination signal ended it (saved).

        Raises:
            NonFiniteLossError: the loss became NaN or infinite.
        """
        remaining = self.plan.total_updates - self.step
        accumulation = self.plan.accumulation
        batches = self.data.training(self.step * accumulation, remaining * accumulation)
        with (
            StopRequest().listening() as stop,
            self._progress() as progress,
            logging_redirect_tqdm([logging.getLogger(PACKAGE_LOGGER)]),
        ):
            while self.step < self.plan.total_updates:
                epoch = self.step // self.plan.updates_per_epoch
                if not self._run_epoch(batches, log, progress, stop):
                    self.save_last(epoch - 1)
                    LOGGER.info(
                        "stopped after update %d, saved %s; the same command continues",
                        self.step,
                        self.folder / f"{self.prefix}_last.pth",
                    )
                    return False
                self._end_epoch(epoch, log)
        return True

    def _run_epoch(
        self, batches: Iterator[KeyframeBatch], log: RunLog, progress: tqdm, stop: StopRequest
    ) -> bool:
        """Updates until the end of the epoch; False if any process was asked to stop."""
        meter = Meter(self.plan.samples_per_update)
        every = self.experiment.log_every
        while True:
            meter.add(self.update(batches))
            progress.update()
            epoch_ends = self.step % self.plan.updates_per_epoch == 0
            if self.step % every == 0 or epoch_ends:
                self._log(meter.read(), log, progress, console=epoch_ends)
            if epoch_ends:
                return True
            if self.world.any(bool(stop)):
                return False

    def update(self, batches: Iterator[KeyframeBatch]) -> LossOutput:
        """One optimiser step; the returned loss is the mean over its micro-batches."""
        self.module.train()
        seed_step(self.experiment.seed, self.step, self.world.rank)
        self.optimizer.zero_grad(set_to_none=True)
        outputs = []
        for part in range(self.plan.accumulation):
            batch = next(batches)
            last = part + 1 == self.plan.accumulation
            with contextlib.nullcontext() if last else self._no_sync():
                output = self._loss(batch, self.step * self.plan.accumulation + part)
                self.scaler.scale(output.total / self.plan.accumulation).backward()
            values = {"total_loss": output.total, **output.terms}
            if last and not self.scaler.is_enabled():  # the scaler skips infinite gradients itself
                values["gradient_norm"] = self._clip_gradients()
            self.guard.record(self.step, values, batch.identities)
            if self.by_keyframe is not None:
                self.by_keyframe.add(output.per_sample, batch.identities)
            outputs.append(output)
        if self.world.device.type == "cpu":
            self.guard.check()  # costs nothing here; a GPU would have to be waited for
        self._step_optimizer()
        return mean_output(outputs)

    def _loss(self, batch: KeyframeBatch, number: int) -> LossOutput:
        batch = batch.to(self.world.device)
        draws = self._draws(number).to(self.world.device)
        language = self.data.language[batch.instruction]
        with self._autocast():
            return self.module(batch, language, draws)

    def _draws(self, number: int) -> TrainingNoise:
        """This rank's rows of the global draws of batch `number`."""
        generator = step_generator(self.experiment.seed, number)
        draws = TrainingNoise.sample(self.plan.rows * self.world.size, generator)
        first = self.world.rank * self.plan.rows
        return draws.select(slice(first, first + self.plan.rows))

    def _clip_gradients(self) -> Tensor:
        """Limit the norm of all gradients to `grad_clip` (0 = no limit); the norm before."""
        limit = self.experiment.peract.grad_clip
        if limit:
            return torch.nn.utils.clip_grad_norm_(self.module.parameters(), limit, foreach=True)
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        return torch.stack(torch._foreach_norm(gradients)).norm()

    def _step_optimizer(self) -> None:
        if self.scaler.is_enabled() and self.experiment.peract.grad_clip:
            self.scaler.unscale_(self.optimizer)
            self._clip_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update(self.bundle.policy)
        self.step += 1

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.world.device.type, self.dtype)

    def _no_sync(self) -> contextlib.AbstractContextManager:
        if isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return contextlib.nullcontext()

    # ------------------------------------------------------------------------------------ logs
    def _progress(self) -> tqdm:
        return tqdm(
            total=self.plan.total_updates,
            initial=self.step,
            desc="training",
            unit="update",
            disable=not self.world.is_main,
            smoothing=0.05,
            mininterval=1.0,
        )

    def _log(self, values: dict[str, float], log: RunLog, progress: tqdm, *, console: bool) -> None:
        self.guard.check()
        values["lr"] = self.schedule.last_lrs()[0]
        self._write(log, values, self.by_keyframe, console=console)
        progress.set_postfix(
            loss=f"{values['total_loss']:.3f}", samples_per_s=f"{values['samples_per_second']:.1f}"
        )

    def _write(
        self,
        log: RunLog,
        values: dict[str, float],
        by_keyframe: KeyframeMeans | None,
        *,
        prefix: str = "",
        console: bool = True,
    ) -> None:
        """One row of the log; of the means per keyframe only the largest is printed."""
        means = by_keyframe.read() if by_keyframe is not None else {}
        details = keyframe_columns(means, prefix)
        log.log(self.step, values, console=console, details=details, note=largest_means(means))

    def _end_epoch(self, epoch: int, log: RunLog) -> None:
        self._save(f"{self.prefix}_{epoch}.pth", epoch)
        if self.data.validation is not None and (epoch + 1) % self.experiment.validation.every == 0:
            self._validate(epoch, log)
        self.save_last(epoch)
        self.world.barrier()

    def _validate(self, epoch: int, log: RunLog) -> None:
        """Log the loss on held-out samples; keep the weights with the lowest one."""
        assert self.data.validation is not None
        policy = self.bundle.policy
        by_keyframe = self._keyframe_means()
        with self.average.applied(policy) if self.average else contextlib.nullcontext():
            values = validation_losses(
                policy,
                self.data.validation,
                self.data.language,
                self.world,
                seed=self.experiment.seed,
                autocast=self._autocast,
                by_keyframe=by_keyframe,
            )
        self._write(log, values, by_keyframe, prefix="validation_")
        if values["validation_total_loss"] < self.best_validation:
            self.best_validation = values["validation_total_loss"]
            self._save(f"{self.prefix}_best.pth", epoch)

    # ------------------------------------------------------------------------------ checkpoints
    def save_last(self, epoch: int) -> None:
        """Write the checkpoint that a resume continues from; `epoch` = last finished one."""
        self._save(f"{self.prefix}_last.pth", epoch)

    def _save(self, name: str, epoch: int) -> None:
        self.guard.check()  # a broken state must not replace a sound file
        if self.world.is_main:
            save_checkpoint(self.folder / name, self._content(epoch))
            self.after_saving()

    def _content(self, epoch: int) -> dict[str, Any]:
        extra = config_extra(self.bundle) | {
            "step": self.step,
            "scaler": self.scaler.state_dict(),
            "best_validation": self.best_validation,
            "processes": self.world.size,
            "started_from": self.started_from,
            "demonstrations": dict(self.data.fingerprints),
        }
        if self.average is not None:
            extra["average"] = self.average.state_dict()
        return {
            "epoch": epoch,
            "model_state": self.bundle.model_state(),
            "optimizer_state": self.optimizer.state_dict(),
            "lr_sched_state": self.schedule.state_dict(),
            "extra": extra,
        }

    def start_from(self, content: dict[str, Any], *, stage_one: bool = False) -> LoadReport:
        """Take only the weights of a checkpoint; optimiser and schedule start fresh.

        Args:
            content: of the file.
            stage_one: it is a stage-1 file for a network with memory, which starts fresh.

        Raises:
            WeightsError: the weights do not fit.
        """
        adapter = self.bundle.policy.weight_adapter
        load = adapter.load_earlier_stage if stage_one else adapter.load
        report = load(content["model_state"])
        if self.average is not None:
            self.average.reset(self.bundle.policy)
        return report

    def resume(self, content: dict[str, Any]) -> None:
        """Continue from the content of a checkpoint, at the very next update.

        A file without `extra` (published) continues at the epoch after its own.

        Raises:
            WeightsError: the weights do not fit.
            CheckpointError: the optimiser state belongs to another set of parameters.
        """
        self.start_from(content)
        extra = content.get("extra", {})
        self.step = extra.get("step", (content.get("epoch", -1) + 1) * self.plan.updates_per_epoch)
        self.started_from = extra.get("started_from", "")
        if content.get("optimizer_state"):
            restore_optimizer(
                self.optimizer, content["optimizer_state"], self.bundle, extra.get("experiment")
            )
        if content.get("lr_sched_state") and "step" not in extra:  # published: its schedule holds
            self._load_state(self.schedule, content["lr_sched_state"])
        else:
            self.schedule.advance_to(self.step)
        self.best_validation = extra.get("best_validation", float("inf"))
        if extra.get("scaler"):
            self.scaler.load_state_dict(extra["scaler"])
        if self.average is not None and "average" in extra:
            self._load_state(self.average, extra["average"])

    @staticmethod
    def _load_state(part: WarmupCosine | WeightAverage, state: dict[str, Any]) -> None:
        try:
            part.load_state_dict(state)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
