"""Random subsets of clouds: validity, order, even coverage, dependence on the seed alone."""

from __future__ import annotations

import pytest
import torch

from sam2act.geometry.subsampling import stratified_subset


def seeds(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def random_validity(batch: int, count: int, share: float) -> torch.Tensor:
    return torch.rand(batch, count, generator=torch.Generator().manual_seed(0)) < share


@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_only_valid_points_in_their_order(share: float) -> None:
    valid = random_validity(3, 2000, share)
    index = stratified_subset(valid, 100, seeds(1, 2, 3))
    assert index.shape == (3, 100) and index.dtype == torch.int64
    assert valid.gather(1, index).all()
    assert (index.diff(dim=1) >= 0).all()


def test_one_point_of_every_stratum() -> None:
    valid = torch.ones(2, 1000, dtype=torch.bool)
    index = stratified_subset(valid, 50, seeds(5, 6))
    assert torch.equal(index // 20, torch.arange(50).expand(2, 50))


def test_strata_are_runs_of_valid_points() -> None:
    valid = random_validity(1, 3000, 0.4)
    members = valid[0].nonzero()[:, 0]
    index = stratified_subset(valid, 64, seeds(7))[0]
    rank = torch.searchsorted(members, index)
    assert torch.equal(rank * 64 // len(members), torch.arange(64))


def test_as_many_as_there_are_keeps_all() -> None:
    valid = random_validity(1, 300, 0.5)
    index = stratified_subset(valid, int(valid.sum()), seeds(11))
    assert torch.equal(index[0], valid[0].nonzero()[:, 0])


def test_few_points_repeat_and_all_occur() -> None:
    valid = torch.zeros(1, 100, dtype=torch.bool)
    valid[0, [3, 40, 99]] = True
    index = stratified_subset(valid, 30, seeds(0))[0]
    assert index.unique(return_counts=True)[1].tolist() == [10, 10, 10]
    assert set(index.tolist()) == {3, 40, 99}


def test_nothing_valid_gives_indices_that_can_be_gathered() -> None:
    index = stratified_subset(torch.zeros(2, 10, dtype=torch.bool), 4, seeds(1, 2))
    assert ((index >= 0) & (index < 10)).all()


def test_draws_depend_on_the_seed_alone() -> None:
    valid = random_validity(1, 500, 0.7).expand(3, -1)
    together = stratified_subset(valid, 40, seeds(8, 2**31 - 1, 8))
    assert torch.equal(together[0], together[2]) and not torch.equal(together[0], together[1])
    alone = stratified_subset(valid[:1], 40, seeds(2**31 - 1))
    assert torch.equal(alone[0], together[1])


def test_draws_are_uniform_and_independent() -> None:
    run, strata = 1000, 2000
    valid = torch.ones(8, run * strata, dtype=torch.bool)
    index = stratified_subset(valid, strata, torch.arange(8))
    draw = (index % run).double() / run
    assert abs(draw.mean() - 0.5) < 0.01 and abs(draw.std() - 12**-0.5) < 0.01
    correlation = torch.corrcoef(draw)  # between neighbouring seeds
    assert (correlation - torch.eye(8)).abs().max() < 0.1
    neighbours = torch.corrcoef(torch.stack([draw[:, 1:].flatten(), draw[:, :-1].flatten()]))
    assert abs(neighbours[0, 1]) < 0.03
