"""Learning rate over the updates of a run: linear warm-up, then a cosine or a constant.

`learning_rate` is the closed form; `WarmupCosine` applies it to an optimiser and saves itself in
the form that published checkpoints hold under `lr_sched_state`.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch

LOGGER = logging.getLogger(__name__)
FLOOR_FRACTION = 0.01  # the cosine falls towards this fraction of the base rate


def learning_rate(
    step: int, base: float, warmup_steps: int, total_steps: int, cosine: bool
) -> float:
    """The rate used by update `step`.

    The period of the cosine is `total_steps`, although it starts only after the warm-up, so the
    last rate stays slightly above 1 % of `base`, as published.

    Args:
        step: 0-based number of the update.
        base: rate at the end of the warm-up (`peract.lr` times the global batch).
        warmup_steps: updates of the linear rise; 0 = none.
        total_steps: updates of the whole run.
        cosine: fall along a half cosine; otherwise stay at `base`.

    Returns:
        the rate, in the unit of `base`.
    """
    if step < warmup_steps:
        return base * (step + 1) / warmup_steps
    if not cosine:
        return base
    floor = FLOOR_FRACTION * base
    return (
        floor + (base - floor) * (1 + math.cos(math.pi * (step - warmup_steps) / total_steps)) / 2
    )


class WarmupCosine:
    """Sets the rate of every parameter group; call `step()` once after each optimiser call.

    The constructor sets the rate of update 0. A group that carries `lr_scale` gets its rate times
    that factor.

    Args:
        optimizer: its groups' `lr` is overwritten.
        base: rate at the end of the warm-up.
        warmup_steps: updates of the linear rise.
        total_steps: updates of the whole run, the period of the cosine.
        cosine: as in `learning_rate`.

    Raises:
        ValueError: negative warm-up, or no update at all.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        base: float,
        warmup_steps: int,
        total_steps: int,
        cosine: bool,
    ) -> None:
        if warmup_steps < 0:
            raise ValueError(f"peract.warmup_steps must not be negative, got {warmup_steps}")
        if total_steps < 1:
            raise ValueError(f"a schedule needs at least one update, got {total_steps}")
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.cosine = cosine
        self.base_lrs = [base * group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        self.next_step = 0
        self._apply()

    def step(self) -> None:
        """Sets the rate of the next update."""
        self.next_step += 1
        self._apply()

    def advance_to(self, step: int) -> None:
        """Sets the rates of update `step` (a checkpoint without a saved schedule)."""
        self.next_step = step
        self._apply()

    def last_lrs(self) -> list[float]:
        """The rate of the next update, one value per parameter group."""
        return [self._rate(base) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The state under the attribute names of the published scheduler.

        As there, counting starts with the call made before the first update, and once the cosine
        has begun only the inner scheduler counts on.
        """
        finished = self.cosine and self.next_step >= self.warmup_steps
        outer = self.warmup_steps + 1 if finished else self.next_step + 1
        state: dict[str, Any] = {
            "multiplier": 1,
            "total_epoch": self.warmup_steps,
            "finished": finished,
            "base_lrs": list(self.base_lrs),
            "last_epoch": outer,
            "_step_count": outer + 1,
            "_last_lr": self.last_lrs(),
        }
        if self.cosine:
            inner = max(self.next_step - self.warmup_steps, 0)
            state["after_scheduler_state_dict"] = {
                "T_max": self.total_steps,
                "eta_min": FLOOR_FRACTION * self.base_lrs[0],
                "base_lrs": list(self.base_lrs),
                "last_epoch": inner,
                "_step_count": inner + 1,
                "_last_lr": self.last_lrs() if finished else list(self.base_lrs),
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a saved state, ours or a published one; its lengths and rates win.

        Raises:
            ValueError: an attribute is missing, or the number of groups differs.
        """
        missing = {"total_epoch", "finished", "base_lrs", "last_epoch", "_last_lr"} - set(state)
        if missing:
            raise ValueError(
                f"lr_sched_state lacks {', '.join(sorted(missing))}; it was not saved by this "
                "schedule: load the weights only"
            )
        if len(state["base_lrs"]) != len(self.base_lrs):
            raise ValueError(
                f"lr_sched_state holds {len(state['base_lrs'])} parameter groups, this run has "
                f"{len(self.base_lrs)}; resume with the same peract.upsampler_lr_scale"
            )
        inner = state.get("after_scheduler_state_dict")
        saved = {
            "warmup_steps": int(state["total_epoch"]),
            "total_steps": int(inner["T_max"]) if inner else self.total_steps,
            "cosine": bool(inner),
            "base_lrs": [float(rate) for rate in state["base_lrs"]],
        }
        for name, value in saved.items():
            if getattr(self, name) != value:
                LOGGER.warning(
                    "learning-rate schedule: %s %s of the checkpoint replaces %s",
                    name,
                    value,
                    getattr(self, name),
                )
            setattr(self, name, value)
        self.next_step = _next_step(state)
        self._apply()

    def _rate(self, base: float) -> float:
        return learning_rate(self.next_step, base, self.warmup_steps, self.total_steps, self.cosine)

    def _apply(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.last_lrs(), strict=True):
            group["lr"] = rate


def _next_step(state: dict[str, Any]) -> int:
    """Number of the update that a saved scheduler would serve next.

    During the warm-up it follows from the saved rate, which does not depend on how the scheduler
    that saved it counts its calls.
    """
    warmup = int(state["total_epoch"])
    inner = state.get("after_scheduler_state_dict")
    if state["finished"] and inner:
        return warmup + int(inner["last_epoch"])
    rates: list[tuple[float, float]] = list(zip(state["base_lrs"], state["_last_lr"], strict=True))
    base, rate = max(rates)
    if base > 0 and rate < base:
        return max(round(rate / base * warmup) - 1, 0)
    return max(int(state["last_epoch"]) - 1, warmup - 1, 0)
