"""Diffusion with a learned variance, and the small network behind it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.nn.diffusion.adaln_mlp import SimpleMLPAdaLN
from sam2act.nn.diffusion.learned_variance import LearnedVarianceDiffusion, fraction_steps
from sam2act.nn.diffusion.schedules import cosine_betas


def test_fractions_of_the_steps_reach_from_the_first_to_the_last() -> None:
    hundred = fraction_steps(1000, 100).tolist()
    assert hundred[:4] == [0, 10, 20, 30] and hundred[-3:] == [979, 989, 999]
    assert fraction_steps(7, 7).tolist() == list(range(7))
    assert fraction_steps(7, 1).tolist() == [0]
    for count in (0, 8):
        with pytest.raises(ConfigError, match="possible are 1 to 7"):
            fraction_steps(7, count)


def test_a_respaced_process_adds_the_same_noise() -> None:
    process = LearnedVarianceDiffusion(cosine_betas(50))
    few = process.respaced(5)
    clean, noise = torch.randn(5, 3), torch.randn(5, 3)
    places = torch.arange(5)
    same = process.add_noise(clean, few.steps, noise)
    torch.testing.assert_close(few.add_noise(clean, places, noise), same)


def test_the_exact_reverse_step_costs_nothing_and_others_do() -> None:
    """The bound is zero where the network tells the true noise and the smallest variance."""
    process = LearnedVarianceDiffusion(cosine_betas(20))
    clean, noise, index = torch.randn(6, 2), torch.randn(6, 2), torch.arange(6) + 1

    def told(error: float, share: float) -> Tensor:
        def predict(noisy: Tensor, step: Tensor) -> Tensor:
            return torch.cat([noise + error, torch.full_like(noise, share)], dim=-1)

        return process.loss(predict, clean, index, noise).bound

    torch.testing.assert_close(told(0.0, -1.0), torch.zeros(6), atol=1e-5, rtol=0)
    assert (told(0.5, -1.0) > 1e-3).all() and (told(0.0, 1.0) > 1e-3).all()


def test_the_bound_teaches_only_the_variance() -> None:
    process = LearnedVarianceDiffusion(cosine_betas(20))
    output = torch.randn(4, 6, requires_grad=True)
    loss = process.loss(
        lambda x, t: output, torch.randn(4, 3), torch.tensor([0, 1, 9, 19]), torch.randn(4, 3)
    )
    (gradient,) = torch.autograd.grad(loss.bound.sum(), output)
    assert not gradient[:, :3].any() and gradient[:, 3:].any()


def test_samples_follow_the_data_and_shrink_with_the_temperature() -> None:
    """With the exact network of a Gaussian, samples have its mean and its spread."""
    process = LearnedVarianceDiffusion(cosine_betas(200)).respaced(100)
    mean, spread = 0.3, 0.2

    def predict(noisy: Tensor, step: Tensor) -> Tensor:
        signal = process.signal[(process.steps == step[0]).nonzero()[0, 0]].float()
        variance = signal * spread**2 + 1 - signal
        noise = (1 - signal).sqrt() * (noisy - signal.sqrt() * mean) / variance
        return torch.cat([noise, torch.zeros_like(noise)], dim=-1)

    generator = torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(4000, 1, generator=generator)  # noqa: E731
    warm = process.sample(predict, draw(), draw)
    cold = process.sample(predict, draw(), draw, temperature=0.5)
    assert math.isclose(float(warm.mean()), mean, abs_tol=0.02)
    assert math.isclose(float(warm.std()), spread, rel_tol=0.1)
    assert float(cold.std()) < 0.8 * float(warm.std())


def test_a_fresh_network_predicts_nothing_and_its_condition_counts_later() -> None:
    torch.manual_seed(0)
    network = SimpleMLPAdaLN(channels=3, condition=5, width=8, depth=2)
    noisy, step, condition = torch.randn(4, 3), torch.arange(4), torch.randn(4, 5)
    assert not network(noisy, step, condition).any()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    told, otherwise = network(noisy, step, condition), network(noisy, step, condition + 1)
    assert told.shape == (4, 6) and not torch.allclose(told, otherwise, atol=1e-3)
