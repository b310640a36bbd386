"""The optimisers and the schedule of `sam2act train` for LeRobot's training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lerobot.optim.optimizers import OptimizerConfig
from lerobot.optim.schedulers import LRSchedulerConfig

from sam2act.training.optimizer import build_optimizer
from sam2act.training.schedule import WarmupCosine

STEP = "step"


@OptimizerConfig.register_subclass("sam2act")
@dataclass
class SAM2ActOptimizerConfig(OptimizerConfig):
    """`peract.optimizer_type` and what belongs to it; `grad_clip_norm` 0 = no limit.

    LeRobot keeps tensors of an optimiser only, so counts of steps become tensors in its files.
    """

    lr: float = 1e-4
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0
    optimizer_type: str = "lamb"
    bnb: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    zero_norm_escape: bool = False

    def build(self, params: Any) -> torch.optim.Optimizer:
        """The optimiser of parameter groups."""
        optimizer = build_optimizer(
            params,
            optimizer_type=self.optimizer_type,
            bnb=self.bnb,
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            zero_norm_escape=self.zero_norm_escape,
        )
        if self.optimizer_type == "lamb":
            optimizer.register_state_dict_post_hook(lambda _, state: _counts(state, torch.tensor))
            optimizer.register_load_state_dict_pre_hook(lambda _, state: _counts(state, int))
        return optimizer


def _counts(state: dict[str, Any], kind: Callable[[Any], Any]) -> dict[str, Any]:
    """A state of an optimiser whose counts of steps have another type."""
    entries = {n: {**entry, STEP: kind(entry[STEP])} for n, entry in state["state"].items()}
    return {**state, "state": entries}


@LRSchedulerConfig.register_subclass("sam2act")
@dataclass
class SAM2ActSchedulerConfig(LRSchedulerConfig):
    """Linear warm-up to `peak_lr`, then half a cosine over all steps, or a constant rate."""

    num_warmup_steps: int | None = 0
    peak_lr: float = 1e-4
    cosine: bool = True

    def build(self, optimizer: torch.optim.Optimizer, num_training_steps: int) -> Any:
        """The schedule; it scales the rate of a group by its `lr_scale`."""
        return WarmupCosine(
            optimizer,
            base=self.peak_lr,
            warmup_steps=self.num_warmup_steps or 0,
            total_steps=num_training_steps,
            cosine=self.cosine,
        )
