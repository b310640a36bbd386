"""Sampling of heat maps and Gaussian targets."""

from __future__ import annotations

import pytest
import torch

from sam2act.rendering.heatmaps import gaussian_heatmaps, sample_inverse_distance


def random_map(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_integer_points_read_their_pixel() -> None:
    maps = random_map(2, 3, 5, 7)
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    points = torch.stack([columns, rows], dim=-1).flatten(0, 1).float().expand(2, 35, 2)
    values = sample_inverse_distance(points, maps)
    torch.testing.assert_close(values.transpose(1, 2), maps.flatten(2), rtol=0, atol=1e-6)


def test_pixel_block_centre_reads_the_mean() -> None:
    maps = random_map(1, 1, 4, 4)
    value = sample_inverse_distance(torch.tensor([[[1.5, 2.5]]]), maps)
    torch.testing.assert_close(value[0, 0, 0], maps[0, 0, 2:4, 1:3].mean())


def test_points_outside_give_zero_and_non_finite_ones_nan() -> None:
    maps = 1 + random_map(1, 2, 4, 6)
    points = torch.tensor([[[-0.01, 1.0], [5.01, 1.0], [2.0, 3.2], [2.0, -3.0], [1e9, 0.0]]])
    assert (sample_inverse_distance(points, maps) == 0).all()
    broken = torch.tensor([[[float("nan"), 1.0], [1.0, float("inf")], [float("-inf"), 1.0]]])
    assert sample_inverse_distance(broken, maps).isnan().all()


def test_weight_is_kept_and_normalised_away() -> None:
    maps, points = random_map(1, 2, 4, 4), 3 * random_map(1, 6, 2)
    weight = torch.tensor([[0.0, 0.5, 1.0, 2.0, 3.0, 4.0]])
    before = weight.clone()
    values = sample_inverse_distance(points, maps, weight)
    assert torch.equal(weight, before)
    assert (values[0, 0] == 0).all()
    torch.testing.assert_close(values[:, 1:], sample_inverse_distance(points, maps)[:, 1:])


def test_samples_are_differentiable_in_the_maps() -> None:
    maps = random_map(1, 2, 3, 3).double().requires_grad_()
    points = torch.tensor([[[0.3, 1.7], [2.0, 0.0], [2.4, 1.0]]])
    assert torch.autograd.gradcheck(lambda m: sample_inverse_distance(points, m), maps)


def test_heatmap_sums_to_one_and_peaks_at_the_point() -> None:
    points = torch.tensor([[[10.0, 20.0], [0.0, 0.0]], [[30.2, 5.4], [31.0, 31.0]]])
    heat = gaussian_heatmaps(points, 32, 1.5)
    assert heat.shape == (2, 2, 32, 32)
    torch.testing.assert_close(heat.sum((2, 3)), torch.ones(2, 2), rtol=0, atol=1e-5)
    peak = heat.flatten(2).argmax(dim=2)
    expected = points.round().long()
    assert torch.equal(peak, expected[..., 1] * 32 + expected[..., 0])
    assert (heat > 0)[0, 0].sum() == 69  # pixels within 4.5 px


def test_distant_point_gives_an_empty_map() -> None:
    heat = gaussian_heatmaps(torch.tensor([[-5.0, 3.0], [-4.0, 3.0]]), (16, 8), 1.5)
    assert heat.shape == (2, 16, 8)
    assert heat[0].sum() == 0 and heat[1].sum() > 0.99


@pytest.mark.parametrize("point", [(3.2, 5.7), (3.5, 5.5), (-20.0, 40.0)])
def test_one_hot_maps(point: tuple[float, float]) -> None:
    heat = gaussian_heatmaps(torch.tensor([point]), (10, 8), -1)
    assert heat.sum() == 1 and heat.max() == 1
    unit = gaussian_heatmaps(torch.tensor([point]), (10, 8), 1.0)
    assert heat.flatten().argmax() == (unit == unit.max()).flatten().int().argmax()
