"""The diffusion process: adding noise, and removing it with a network that predicts it.

Legend: B samples, T steps of training, K steps that a sampler visits, abar_t the share of the
signal's variance after step t.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sam2act.nn.diffusion.schedules import strided_steps

# Noisy values (B, ...) and their steps (B,) int64 -> predicted noise (B, ...).
PredictNoise = Callable[[Tensor, Tensor], Tensor]


class GaussianDiffusion:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (Ho et al. 2020), tables in float64."""

    def __init__(self, betas: Tensor) -> None:
        """`betas` (T,) float64: variance that each step adds."""
        self.betas = betas
        self.signal = torch.cumprod(1 - betas, dim=0)  # abar

    def add_noise(self, clean: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Values `clean` (B, ...) after steps (B,) with this `noise` (B, ...)."""
        signal = self.signal.to(clean.device)[step].to(clean)
        signal = signal.reshape(-1, *[1] * (clean.dim() - 1))
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise

    @torch.no_grad()
    def sample(
        self, predict: PredictNoise, start: Tensor, noise_of: Callable[[int], Tensor]
    ) -> Tensor:
        """Ancestral sampling through all T steps with the posterior variance.

        Args:
            predict: the network.
            start: (B, ...) standard normal.
            noise_of: a step from T - 1 down to 1 -> (B, ...) standard normal.
        """
        before = torch.cat([self.signal.new_ones(1), self.signal[:-1]])
        variance = self.betas * (1 - before) / (1 - self.signal)
        value = start
        for step in reversed(range(len(self.betas))):
            beta, signal, earlier = (float(t[step]) for t in (self.betas, self.signal, before))
            clean = self._clean(value, self._predicted(predict, value, step), signal)
            value = (beta * earlier**0.5 * clean + (1 - earlier) * (1 - beta) ** 0.5 * value) / (
                1 - signal
            )
            if step:
                value = value + float(variance[step]) ** 0.5 * noise_of(step).to(value)
        return value

    @torch.no_grad()
    def sample_ddim(self, predict: PredictNoise, start: Tensor, count: int) -> Tensor:
        """Deterministic sampling (DDIM, eta 0; Song et al. 2021) through `count` steps.

        Raises:
            ConfigError: the T steps cannot be strided so.
        """
        steps = strided_steps(len(self.betas), count).tolist()
        value = start
        for index in reversed(range(len(steps))):
            noise = self._predicted(predict, value, steps[index])
            clean = self._clean(value, noise, float(self.signal[steps[index]]))
            before = float(self.signal[steps[index - 1]]) if index else 1.0
            value = before**0.5 * clean + (1 - before) ** 0.5 * noise
        return value

    @staticmethod
    def _predicted(predict: PredictNoise, value: Tensor, step: int) -> Tensor:
        return predict(value, torch.full((len(value),), step, device=value.device))

    @staticmethod
    def _clean(value: Tensor, noise: Tensor, signal: float) -> Tensor:
        """What remains of `value` without `noise`."""
        clean: Tensor = (value - (1 - signal) ** 0.5 * noise) / signal**0.5
        return clean
