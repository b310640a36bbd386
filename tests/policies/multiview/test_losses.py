"""The excess loss of heat maps: what a perfect prediction would save."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam2act.policies.multiview.losses import excess_loss, heatmap_cross_entropy
from sam2act.rendering.heatmaps import gaussian_heatmaps

SIZE, SIGMA = 64, 1.5
ROUNDING = 1e-4  # float32 sums over 4096 pixels, and target maps that sum to 1 - 1e-7
POSITIONS = torch.tensor([[16.0, 16.0], [48.0, 16.0], [16.0, 48.0], [48.0, 48.0]])


def maps(*pixels: Tensor) -> Tensor:
    """(1, V, S, S) target maps of one pixel (2,) per view."""
    return gaussian_heatmaps(torch.stack(pixels)[None], SIZE, SIGMA)


def undecided(modes: int) -> Tensor:
    """(S, S) scores of a prediction that holds the first `modes` positions equally likely."""
    return gaussian_heatmaps(POSITIONS[:modes], SIZE, SIGMA).mean(0).clamp(min=1e-30).log()


def excess(logits: Tensor, target: Tensor) -> Tensor:
    return excess_loss(heatmap_cross_entropy(logits, target), target)


def test_perfect_prediction_has_no_excess() -> None:
    inside = SIZE * (0.2 + 0.6 * torch.rand(2, 2, generator=torch.Generator().manual_seed(0)))
    target = torch.cat([maps(POSITIONS[0], POSITIONS[3]), maps(*inside)])
    logits = target.clamp(min=1e-30).log() + 7  # soft-max leaves the level free
    assert heatmap_cross_entropy(logits, target).min() > 3
    torch.testing.assert_close(excess(logits, target), torch.zeros(2), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("modes", [2, 3, 4])
def test_equally_likely_positions_cost_the_logarithm_of_their_number(modes: int) -> None:
    target = maps(POSITIONS[0])
    value = excess(undecided(modes)[None, None], target)
    assert value.tolist() == pytest.approx([math.log(modes)], abs=ROUNDING)


def test_excess_is_the_mean_over_the_views_of_each_sample() -> None:
    """Four places in the view from above, two from the sides: what a policy without memory pays."""
    target = maps(*POSITIONS[[0, 0, 0]]).repeat(2, 1, 1, 1)
    unsure = torch.stack([undecided(4), undecided(2), undecided(2)])
    sure = undecided(1).expand(3, -1, -1)
    expected = [math.log(16) / 3, 0.0]
    assert excess(torch.stack([unsure, sure]), target).tolist() == pytest.approx(
        expected, abs=ROUNDING
    )


def test_empty_target_maps_are_left_out() -> None:
    outside = torch.tensor([-50.0, 0.0])
    target = torch.cat([maps(POSITIONS[0], outside), maps(outside, outside)])
    first, second = excess(undecided(2).expand(2, 2, -1, -1), target).tolist()
    assert first == pytest.approx(math.log(2), abs=ROUNDING)
    assert math.isnan(second)


def test_excess_carries_no_gradient() -> None:
    logits = torch.zeros(1, 1, SIZE, SIZE, requires_grad=True)
    cross_entropy = heatmap_cross_entropy(logits, maps(POSITIONS[0]))
    assert cross_entropy.requires_grad
    assert not excess_loss(cross_entropy, maps(POSITIONS[0])).requires_grad
