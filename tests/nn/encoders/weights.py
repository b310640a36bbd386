"""Random weights for tests of image encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def randomise(module: nn.Module) -> None:
    """Normal weights also where the module starts with zeros or ones."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def images(side: int, count: int = 2) -> Tensor:
    """Colours in [0, 1]."""
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
