"""Policies that learn by acting: what the training loop of `training/online` knows of them.

Legend: B samples, T frames of an observation, C colours times frames, S pixels per side, A numbers
of an action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.policies.base import Policy


@dataclass(frozen=True)
class Transitions:
    """What happened in B moments, n steps long."""

    pixels: Tensor  # (B, C, S, S) uint8, the frames of an observation on top of each other
    action: Tensor  # (B, A) of the first step
    reward: Tensor  # (B, 1) sum of n discounted rewards
    discount: Tensor  # (B, 1) of the value n steps later; 0 where the episode ended for good
    next_pixels: Tensor  # (B, C, S, S) n steps later

    def to(self, device: torch.device | str) -> Transitions:
        """The same on `device`."""
        return Transitions(*(value.to(device) for value in vars(self).values()))


class OnlinePolicy(Policy):
    """A policy whose data come from its own actions."""

    term_names = ()

    @classmethod
    def check_stage(cls, stage: int, experiment: Any, config: Any) -> None:
        """Refuse training on recorded data.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"policy: {config.policy} learns by acting, not from demonstrations; use sam2act "
            "rl-train"
        )

    def explore(self, pixels: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """(B, A) actions with the noise of training.

        Args:
            pixels: (B, C, S, S) uint8.
            step: actions so far.
            generator: of random numbers, on the CPU.
        """
        raise NotImplementedError

    def update(self, batch: Transitions, step: int, generator: torch.Generator) -> dict[str, float]:
        """Learn from a batch; figures for the log.

        Args:
            batch: on the policy's device.
            step: actions so far.
            generator: of random numbers, on the CPU.
        """
        raise NotImplementedError

    def optimizer_state(self) -> dict[str, Any]:
        """What is needed beside the weights to go on."""
        raise NotImplementedError

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Take what `optimizer_state` gave."""
        raise NotImplementedError
