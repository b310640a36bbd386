"""Diffusion whose network predicts the noise and the variance of a reverse step (Nichol, Dhariwal
2021).

Legend: B samples, C numbers of a sample, T steps of training, K steps that a sampler visits. The
output of a network is (B, 2 C): the noise, then v, which places the logarithm of the variance
between its two bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sam2act.core.errors import ConfigError

# Noisy values (B, C) and their steps of training (B,) int64 -> output (B, 2 C).
Predict = Callable[[Tensor, Tensor], Tensor]
BIN = 1 / 255  # half the width of a bin of the likelihood at the last step
END = 0.999  # values beyond it lie in the outermost bins
SMALLEST_PROBABILITY = 1e-12


def fraction_steps(steps: int, count: int) -> Tensor:
    """(count,) int64: `count` of T steps, evenly from the first to the last, each rounded.

    Raises:
        ConfigError: there are not so many.
    """
    if not 1 <= count <= steps:
        raise ConfigError(f"{count} denoising steps: possible are 1 to {steps}")
    stride = (steps - 1) / (count - 1) if count > 1 else 1.0
    return torch.tensor([round(stride * place) for place in range(count)])


class DiffusionLoss(NamedTuple):
    """The loss of B samples, (B,) each: `mse` of the noise, `bound` of the variance in bits."""

    mse: Tensor
    bound: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.mse + self.bound


class ReverseStep(NamedTuple):
    """The Gaussian of one reverse step, (B, C) each, and the clean value that it aims at."""

    mean: Tensor
    log_variance: Tensor
    clean: Tensor


class LearnedVarianceDiffusion:
    """The process at some of the T steps of training; tables in float64."""

    def __init__(self, betas: Tensor, steps: Tensor | None = None) -> None:
        """With variances `betas` (T,) float64, at `steps` (K,) increasing; None = at all."""
        signal = torch.cumprod(1 - betas, dim=0)
        self.steps = torch.arange(len(betas)) if steps is None else steps
        self.signal = signal[self.steps]
        self.before = torch.cat([signal.new_ones(1), self.signal[:-1]])
        self.betas = 1 - self.signal / self.before
        variance = self.betas * (1 - self.before) / (1 - self.signal)
        if len(variance) > 1:
            variance = torch.cat([variance[1:2], variance[1:]])
        self.smallest = variance.log()  # of the logarithm of the variance; the largest is log beta
        self.largest = self.betas.log()

    def respaced(self, count: int) -> LearnedVarianceDiffusion:
        """The process at `count` of its steps (`fraction_steps`)."""
        return LearnedVarianceDiffusion(self.betas, fraction_steps(len(self.betas), count))

    def add_noise(self, clean: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """`clean` (B, C) after the steps `index` (B,) with this `noise` (B, C)."""
        signal = self._at(self.signal, index, clean)
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise

    def loss(self, predict: Predict, clean: Tensor, index: Tensor, noise: Tensor) -> DiffusionLoss:
        """The loss at steps `index` (B,); the bound teaches the variance alone."""
        noisy = self.add_noise(clean, index, noise)
        output = predict(noisy, index)
        predicted, _ = output.chunk(2, dim=-1)
        mse = (noise - predicted).square().mean(-1)
        fixed = torch.cat([predicted.detach(), output.chunk(2, dim=-1)[1]], dim=-1)
        return DiffusionLoss(mse, self._bound(fixed, clean, noisy, index))

    def reverse(
        self, output: Tensor, value: Tensor, index: Tensor, *, clip: bool = False
    ) -> ReverseStep:
        """The reverse step from `value` (B, C) at steps `index` (B,).

        Args:
            output: (B, 2 C) of the network there.
            value: the noisy values.
            index: places in `steps`.
            clip: limit the clean value to -1 to 1.
        """
        noise, share = output.chunk(2, dim=-1)
        signal = self._at(self.signal, index, value)
        clean = (value - (1 - signal).sqrt() * noise) / signal.sqrt()
        if clip:
            clean = clean.clamp(-1, 1)
        share = (share + 1) / 2
        largest, smallest = (self._at(t, index, value) for t in (self.largest, self.smallest))
        log_variance = share * largest + (1 - share) * smallest
        return ReverseStep(self._posterior_mean(clean, value, index), log_variance, clean)

    @torch.no_grad()
    def sample(
        self,
        predict: Predict,
        start: Tensor,
        draw: Callable[[], Tensor],
        *,
        temperature: float = 1.0,
        clip: bool = False,
    ) -> Tensor:
        """Ancestral sampling through all steps.

        Args:
            predict: the network.
            start: (B, C) standard normal.
            draw: gives (B, C) standard normal numbers, K - 1 times.
            temperature: factor of the added noise.
            clip: see `reverse`.
        """
        value = start
        for index in reversed(range(len(self.steps))):
            rows = torch.full((len(value),), index, device=value.device)
            output = predict(value, self.steps.to(value.device)[rows])
            step = self.reverse(output, value, rows, clip=clip)
            value = step.mean
            if index:
                spread = (step.log_variance / 2).exp() * temperature
                value = value + spread * draw().to(value)
        return value

    def _posterior_mean(self, clean: Tensor, value: Tensor, index: Tensor) -> Tensor:
        signal, before, beta = (
            self._at(table, index, value) for table in (self.signal, self.before, self.betas)
        )
        pulled = beta * before.sqrt() * clean + (1 - before) * (1 - beta).sqrt() * value
        mean: Tensor = pulled / (1 - signal)
        return mean

    def _bound(self, output: Tensor, clean: Tensor, noisy: Tensor, index: Tensor) -> Tensor:
        """(B,) divergence of the reverse step from the true one, or at step 0 the negative
        likelihood; both in bits per number."""
        step = self.reverse(output, noisy, index)
        true_mean = self._posterior_mean(clean, noisy, index)
        divergence = _divergence(
            true_mean, self._at(self.smallest, index, noisy), step.mean, step.log_variance
        )
        likelihood = _bin_log_likelihood(clean, step.mean, step.log_variance / 2)
        nats = torch.where(index == 0, -likelihood.mean(-1), divergence.mean(-1))
        return nats / math.log(2)

    @staticmethod
    def _at(table: Tensor, index: Tensor, like: Tensor) -> Tensor:
        """(B, 1) entries of a table, in the type of `like`."""
        return table.to(like.device)[index].to(like)[:, None]


def _divergence(mean: Tensor, log_variance: Tensor, other: Tensor, other_log: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the second Gaussian from the first, in nats per number."""
    apart = (mean - other).square() * (-other_log).exp()
    return 0.5 * (-1 + other_log - log_variance + (log_variance - other_log).exp() + apart)


def _bin_log_likelihood(values: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Logarithm of the probability of the bin around each value, in nats."""
    centred, scale = values - mean, (-log_scale).exp()
    above = _normal_distribution(scale * (centred + BIN))
    below = _normal_distribution(scale * (centred - BIN))
    inside = torch.where(values > END, 1 - below, above - below)
    probability = torch.where(values < -END, above, inside)
    return probability.clamp(min=SMALLEST_PROBABILITY).log()


def _normal_distribution(x: Tensor) -> Tensor:
    """Distribution function of the standard normal, as approximated by tanh (Page 1977)."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
