"""Exponential moving average of the weights (`peract.ema`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

LARGEST_SHARE = 0.01  # of the first weights in an average that acts


def decay_at(update: int, decay: float, power: float) -> float:
    """What is kept of the average in `update` (from 0): `decay`, less in the first updates if
    there is a `power`."""
    return min(decay, 1 - (1 + update) ** -power) if power else decay


def share_of_start(updates: int, decay: float, power: float) -> float:
    """How much of the average is the first weights, after `updates` updates."""
    return math.prod(decay_at(update, decay, power) for update in range(updates))


class WeightAverage:
    """Keeps average <- decay * average + (1 - decay) * weight for every trainable parameter.

    With a `power`, update n (from 0) uses at most the decay 1 - (1 + n)^-power. Other parameters
    and buffers are not copied: the network's own values hold for them.

    Args:
        module: the network, unwrapped.
        decay: largest decay per update, in [0, 1).
        power: see above; 0 = the decay is fixed.
        wanted: tells by its name whether a trainable parameter is averaged; None = all are.

    Raises:
        ValueError: decay out of range, or nothing to train.
    """

    def __init__(
        self,
        module: nn.Module,
        decay: float,
        power: float = 0.0,
        wanted: Callable[[str], bool] | None = None,
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"peract.ema must be in [0, 1), got {decay}")
        self.decay, self.power, self.updates = decay, power, 0
        self.average = {
            name: value.detach().clone()
            for name, value in _trainable(module).items()
            if wanted is None or wanted(name)
        }
        if not self.average:
            raise ValueError("peract.ema: the network has no trainable parameter to average")

    def reset(self, module: nn.Module) -> None:
        """Starts the average anew from the present weights (after loading a file)."""
        weights = _trainable(module)
        _copy({name: weights[name].detach() for name in self.average}, self.average)
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the average towards the present weights; call once after each optimiser step."""
        weights = _trainable(module)
        decay = decay_at(self.updates, self.decay, self.power)
        self.updates += 1
        torch._foreach_lerp_(
            list(self.average.values()),
            [weights[name].detach() for name in self.average],
            1 - decay,
        )

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The network with averaged weights inside the `with` block, its own ones afterwards."""
        weights = _trainable(module)
        own = {name: weights[name].detach().clone() for name in self.average}
        _copy(self.average, weights)
        try:
            yield
        finally:
            _copy(own, weights)

    def state_dict(self) -> dict[str, Any]:
        """Decay, number of updates and averaged tensors by parameter name."""
        return {"decay": self.decay, "updates": self.updates, "average": dict(self.average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the averaged tensors and their number; the decay of this run stays.

        Raises:
            ValueError: the names differ from the trainable parameters of this network.
        """
        difference = set(state["average"]) ^ set(self.average)
        if difference:
            raise ValueError(
                "the saved weight average belongs to another set of trainable parameters "
                f"(for example {min(difference)}); resume with the same network configuration, or "
                "set peract.ema 0"
            )
        _copy(state["average"], self.average)
        self.updates = int(state.get("updates", 0))


def _trainable(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
