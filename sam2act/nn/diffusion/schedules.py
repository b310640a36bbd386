"""Noise schedules and the choice of the steps that a sampler visits.

Legend: T steps of training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sam2act.core.errors import ConfigError

LARGEST_BETA = 0.999
COSINE_OFFSET = 0.008
ONLY_STEP = 50  # of a sampler with one step, in hundredths of T


def cosine_betas(steps: int) -> Tensor:
    """(T,) float64 variances of the squared-cosine schedule (Nichol and Dhariwal 2021).

    The share of the signal after step i is abar(i) = cos^2((i / T + 0.008) / 1.008 * pi / 2), and
    beta_i = min(1 - abar(i + 1) / abar(i), 0.999).
    """

    def signal(step: int) -> float:
        phase = (step / steps + COSINE_OFFSET) / (1 + COSINE_OFFSET)
        return math.cos(phase * math.pi / 2) ** 2

    betas = [min(1 - signal(i + 1) / signal(i), LARGEST_BETA) for i in range(steps)]
    return torch.tensor(betas, dtype=torch.float64)


def strided_steps(steps: int, count: int) -> Tensor:
    """(count,) int64: `count` of T steps at the smallest whole stride from 0 on that gives as many.

    As published, a single step is the middle one, and the last step of training is left out
    (10 of 100 are 0, 10, ..., 90).

    Raises:
        ConfigError: no stride gives so many.
    """
    if count == 1:
        return torch.tensor([steps * ONLY_STEP // 100])
    strides = (stride for stride in range(1, steps) if -(-steps // stride) == count)
    stride = next(strides, None)
    if stride is None:
        possible = sorted({1, *(-(-steps // stride) for stride in range(1, steps))})
        nearest = sorted(sorted(possible, key=lambda number: abs(number - count))[:2])
        raise ConfigError(
            f"{count} denoising steps: no whole stride takes so many of {steps}; possible are "
            f"for example {' and '.join(map(str, nearest))}"
        )
    return torch.arange(0, steps, stride)
