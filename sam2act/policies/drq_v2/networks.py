"""Encoder, actor and critic of DrQ-v2.

Legend: B samples, C colours times frames, S pixels per side, F features, A numbers of an action.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS = 4


class Encoder(nn.Module):
    """Four 3x3 convolutions, the first one with stride 2."""

    def __init__(self, inputs: int, side: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(LAYERS):
            wide = channels if number else inputs
            layers += [nn.Conv2d(wide, channels, 3, stride=1 if number else 2), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.size = channels * ((side - 3) // 2 + 1 - 2 * (LAYERS - 1)) ** 2  # F

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, S, S) in 0 to 255 -> (B, F)."""
        maps: Tensor = self.convolutions(pixels / 255.0 - 0.5)
        return maps.flatten(1)


def _trunk(inputs: int, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, features), nn.LayerNorm(features), nn.Tanh())


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, hidden), nn.ReLU()),
        *(nn.Linear(hidden, hidden), nn.ReLU()),
        nn.Linear(hidden, outputs),
    )


class Actor(nn.Module):
    """Features -> the mean action in [-1, 1]."""

    def __init__(self, inputs: int, features: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.trunk = _trunk(inputs, features)
        self.head = _head(features, hidden, actions)

    def forward(self, encoded: Tensor) -> Tensor:
        """(B, F) -> (B, A)."""
        return torch.tanh(self.head(self.trunk(encoded)))


class Critic(nn.Module):
    """Features and an action -> two estimates of what is to come."""

    def __init__(self, inputs: int, features: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.trunk = _trunk(inputs, features)
        self.first = _head(features + actions, hidden, 1)
        self.second = _head(features + actions, hidden, 1)

    def forward(self, encoded: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F), (B, A) -> twice (B, 1)."""
        joined = torch.cat([self.trunk(encoded), action], dim=-1)
        return self.first(joined), self.second(joined)


def initialise(module: nn.Module) -> None:
    """Orthogonal weights, zero biases; of convolutions with the gain of a ReLU."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            gain = 2**0.5 if isinstance(part, nn.Conv2d) else 1.0
            nn.init.orthogonal_(part.weight, gain)
            assert part.bias is not None
            nn.init.zeros_(part.bias)
