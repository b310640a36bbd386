"""One optimiser step after the other: gradients, precision, learning rate, weight average.

Everything random is a pure function of (seed, step), so a resumed run repeats the run that was
interrupted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.types import Batch, LossOutput
from sam2act.policies.base import Policy
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.budget import TrainingBudget
from sam2act.training.ema import WeightAverage
from sam2act.training.interrupts import NonFiniteGuard
from sam2act.training.keyframe_means import KeyframeMeans
from sam2act.training.meter import mean_output
from sam2act.training.optimizer import build_optimizer
from sam2act.training.schedule import WarmupCosine
from sam2act.training.seeding import seed_step, step_generator
from sam2act.training.sharding import shard, whole


def shards(experiment: ExperimentConfig, world: DistributedContext) -> bool:
    """Whether the weights are split over the processes."""
    return bool(experiment.peract.sharding) and world.size > 1


@dataclass
class RunState:
    """How far a run is, beside its weights and its optimiser.

    Attributes:
        step: updates done.
        best_validation: lowest loss on held-out samples.
        started_from: file that the first weights came from, "" if from none.
    """

    step: int = 0
    best_validation: float = float("inf")
    started_from: str = ""


class Updater:
    """Optimises a policy, update by update."""

    def __init__(
        self,
        policy: Policy,
        language: Tensor,
        experiment: ExperimentConfig,
        world: DistributedContext,
        *,
        guard: NonFiniteGuard,
        by_keyframe: KeyframeMeans | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """The policy must be on `world.device` already, unless it is to be split over the processes
        (`shard`); it is compiled if the config says so.

        Args:
            policy: is trained.
            language: (instructions, L, D) token features on the device.
            experiment: config of the run.
            world: this process.
            guard: is told the losses of every micro-batch.
            by_keyframe: is told the values per sample of every micro-batch.
            dtype: reduced precision of the forward pass (`autocast_dtype`); None = float32.
        """
        self.policy, self.language = policy, language
        self.experiment, self.world, self.dtype = experiment, world, dtype
        self.guard, self.by_keyframe = guard, by_keyframe
        self.budget = TrainingBudget.from_config(experiment, world.size)
        self.state = RunState()
        values = experiment.peract
        self.optimizer = build_optimizer(
            policy.parameter_groups(),
            optimizer_type=values.optimizer_type,
            bnb=values.bnb,
            lr=self.budget.learning_rate,
            betas=values.betas,
            weight_decay=values.lambda_weight_l2,
            zero_norm_escape=values.zero_norm_escape,
        )
        self.schedule = WarmupCosine(
            self.optimizer,
            base=self.budget.learning_rate,
            warmup_steps=values.warmup_steps,
            total_steps=self.budget.total_updates,
            cosine=values.lr_cos_dec,
        )
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=dtype == torch.float16)
        self.average = None
        if values.ema:
            self.average = WeightAverage(policy, values.ema, values.ema_power, policy.averages)
        policy.compile_network(values.compile)
        self.shards = shards(experiment, world)
        self.module: nn.Module = policy
        if not self.shards:
            self.module = world.share_gradients(policy, some_unused=policy.leaves_parameters_unused)

    def shard(self) -> None:
        """With `peract.sharding`, split what is loaded by now over the processes."""
        if self.shards:
            shard(self.policy, self.optimizer, self.average, self.world)

    def update(self, batches: Iterator[Batch]) -> LossOutput:
        """One optimiser step; the returned loss is the mean over its micro-batches.

        Raises:
            NonFiniteLossError: the loss became NaN or infinite (on a CPU; see `NonFiniteGuard`).
        """
        accumulation = self.budget.accumulation
        self.module.train()
        seed_step(self.experiment.seed, self.state.step, self.world.rank)
        self.optimizer.zero_grad(set_to_none=True)
        outputs = []
        for part in range(accumulation):
            batch = next(batches)
            last = part + 1 == accumulation
            with contextlib.nullcontext() if last else self._no_sync():
                output = self.loss(batch, self.state.step * accumulation + part)
                self.scaler.scale(output.total / accumulation).backward()
            values = {"total_loss": output.total, **output.terms}
            if last and not self.scaler.is_enabled():  # the scaler skips infinite gradients itself
                values["gradient_norm"] = self._clip_gradients()
            self.guard.record(self.state.step, values, batch.identities)
            if self.by_keyframe is not None:
                self.by_keyframe.add(output.per_sample, batch.identities)
            outputs.append(output)
        if self.world.device.type == "cpu":
            self.guard.check()  # costs nothing here; a GPU would have to be waited for
        self._step_optimizer()
        return mean_output(outputs)

    def loss(self, batch: Batch, number: int) -> LossOutput:
        """The loss of training batch `number`, with the noise that belongs to it."""
        batch = batch.to(self.world.device)
        generator = step_generator(self.experiment.seed, number)
        rows = self.budget.rows
        first = self.world.rank * rows
        noise = self.policy.sample_noise(rows * self.world.size, generator)
        own = noise.select(slice(first, first + rows)).to(self.world.device)
        language = self.language[batch.instruction]
        with self.autocast():
            output: LossOutput = self.module(batch, language, own)
        return output

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision of forward passes."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.world.device.type, self.dtype)

    def averaged(self) -> contextlib.AbstractContextManager[object]:
        """The policy with averaged weights, where the run keeps them."""
        return self.average.applied(self.policy) if self.average else contextlib.nullcontext()

    def _clip_gradients(self) -> Tensor:
        """Limit the norm of all gradients to `grad_clip` (0 = no limit); the norm before."""
        limit = self.experiment.peract.grad_clip
        if limit:
            before = torch.nn.utils.clip_grad_norm_(self.module.parameters(), limit, foreach=True)
            return whole(before)
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        if self.shards:
            return whole(torch.nn.utils.get_total_norm(gradients, foreach=True))
        norm: Tensor = torch.stack(torch._foreach_norm(gradients)).norm()
        return norm

    def _step_optimizer(self) -> None:
        if self.scaler.is_enabled() and self.experiment.peract.grad_clip:
            self.scaler.unscale_(self.optimizer)
            self._clip_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update(self.policy)
        self.state.step += 1

    def _no_sync(self) -> contextlib.AbstractContextManager[object]:
        if isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return contextlib.nullcontext()
