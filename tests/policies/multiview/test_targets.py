"""Random numbers of a training step and the heat maps that the network should predict."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sam2act.policies.multiview.targets import TrainingNoise, position_heatmaps
from sam2act.rendering.views import FIVE_VIEWS, THREE_VIEWS, project

SIZE, SIGMA = 48, 1.5


def sample(batch: int, seed: int = 0) -> TrainingNoise:
    return TrainingNoise.sample(batch, torch.Generator().manual_seed(seed))


def tensors(draws: TrainingNoise) -> list[Tensor]:
    return [
        draws.augmentation.translation,
        draws.augmentation.rotation,
        draws.color,
        draws.zoom,
        draws.bin_jitter,
        draws.subset_seed,
    ]


def test_ranges() -> None:
    draws = sample(4000)
    for part in tensors(draws)[:4]:
        assert part.min() >= -1 and part.max() <= 1
        assert part.min() < -0.99 and part.max() > 0.99 and abs(part.mean()) < 0.03
    assert draws.bin_jitter.shape == (4000, 2)
    values, counts = draws.bin_jitter.unique(return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1] and counts.min() > 1800  # asymmetric, as published
    assert draws.subset_seed.min() >= 0 and len(draws.subset_seed.unique()) > 3990


def test_every_field_is_listed_here() -> None:
    assert len(dataclasses.fields(TrainingNoise)) + 1 == len(tensors(sample(2)))


def test_same_generator_same_draws() -> None:
    for mine, other, different in zip(
        *(tensors(x) for x in (sample(5), sample(5), sample(5, 1))), strict=True
    ):
        assert torch.equal(mine, other) and not torch.equal(mine, different)


@pytest.mark.parametrize("cuts", [(0, 6), (0, 2, 6), (0, 3, 4, 6)])
def test_parts_of_a_batch_get_the_rows_of_the_whole(cuts: tuple[int, ...]) -> None:
    whole = sample(6)
    parts = [whole.select(slice(*ends)) for ends in zip(cuts[:-1], cuts[1:], strict=True)]
    joined = [torch.cat(pieces) for pieces in zip(*map(tensors, parts), strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(joined, tensors(whole), strict=True))


def test_samples_can_be_picked_one_by_one() -> None:
    index = torch.tensor([4, 0, 4])
    picked = tensors(sample(6).select(index))
    assert all(torch.equal(a, b[index]) for a, b in zip(picked, tensors(sample(6)), strict=True))


def test_moving_keeps_the_values() -> None:
    draws = sample(3)
    assert all(map(torch.equal, tensors(draws.to("cpu")), tensors(draws)))
    moved = draws.to("meta")
    # Colour factors are needed as numbers, so they stay where no device has to be waited for.
    assert moved.color is draws.color
    assert all(part.is_meta for part in tensors(moved) if part is not moved.color)


# ---------------------------------------------------------------------------------- heat maps
def positions() -> Tensor:
    return 1.6 * torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) - 0.8


@pytest.mark.parametrize("views", [THREE_VIEWS, FIVE_VIEWS], ids=["three", "five"])
def test_maps_peak_at_the_projected_position(views) -> None:
    maps = position_heatmaps(positions(), views, SIZE, SIGMA, half_projection=False)
    assert maps.shape == (20, len(views), SIZE, SIZE)
    peak = maps.flatten(2).argmax(-1)
    pixel = torch.stack([peak % SIZE, peak // SIZE], dim=-1)
    exact = project(positions(), views, SIZE)
    assert (pixel - exact).abs().max() <= 0.5 + 1e-4
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(20, len(views)), atol=1e-4, rtol=0)
    # The mean of the distribution is the position, too.
    grid = torch.arange(SIZE, dtype=torch.float32)
    mean = torch.stack([(maps.sum(2) * grid).sum(-1), (maps.sum(3) * grid).sum(-1)], dim=-1)
    torch.testing.assert_close(mean, exact, atol=0.02, rtol=0)


def test_position_far_outside_a_view_gives_an_empty_map() -> None:
    outside = torch.tensor([[0.0, 0.0, 1.5]])  # above the cube: the top view still sees it
    maps = position_heatmaps(outside, THREE_VIEWS, SIZE, SIGMA, half_projection=False)
    assert [bool(view.any()) for view in maps[0]] == [True, False, False]


def test_half_projection_moves_the_map_a_little() -> None:
    exact, half = (
        position_heatmaps(positions(), THREE_VIEWS, SIZE, SIGMA, half_projection=flag)
        for flag in (False, True)
    )
    assert not torch.equal(exact, half)
    torch.testing.assert_close(exact, half, atol=2e-3, rtol=0)
