"""The loss on held-out samples, independent of the number of processes and of the past."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.core.types import Batch
from sam2act.policies.base import Policy
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.keyframe_means import KeyframeMeans
from sam2act.training.seeding import step_generator


@dataclass(frozen=True)
class ValidationData:
    """The held-out samples, numbered from 0 to `count` - 1 over all processes."""

    count: int
    batches: Callable[[], Iterator[tuple[Tensor, Batch]]]  # this process's numbers and samples


@torch.no_grad()
def validation_losses(
    policy: Policy,
    data: ValidationData,
    language: Tensor,
    world: DistributedContext,
    *,
    seed: int,
    autocast: Callable[[], contextlib.AbstractContextManager[object]],
    by_keyframe: KeyframeMeans | None = None,
) -> dict[str, float]:
    """Mean of every loss term over all held-out samples, without augmentation.

    Every sample always gets the same noise, so values of different epochs are comparable.

    Args:
        policy: in evaluation mode afterwards.
        data: held-out samples.
        language: (instructions, L, D) on the device.
        world: this process; all processes take part and get the same result.
        seed: seed of the run.
        autocast: makes the context of the forward pass.
        by_keyframe: empty tables that get the values per sample of all held-out samples.
    """
    policy.eval()
    world.copy_from_main(policy.buffers())  # BatchNorm statistics are kept per process
    names = ("total_loss", *policy.term_names)
    sums = torch.zeros(len(names), device=world.device)
    noise = policy.sample_noise(data.count, step_generator(seed, 0, "validation"))
    for numbers, batch in data.batches():
        batch = batch.to(world.device)
        with autocast():
            own = noise.select(numbers).to(world.device)
            output = policy.loss(batch, language[batch.instruction], own)
        values = {"total_loss": output.total, **output.terms}
        sums += len(batch) * torch.stack([values[name].float() for name in names])
        if by_keyframe is not None:
            by_keyframe.add(output.per_sample, batch.identities)
    if by_keyframe is not None:
        by_keyframe.join(world)
    means = (world.sum(sums) / data.count).tolist()
    return {f"validation_{name}": mean for name, mean in zip(names, means, strict=True)}
