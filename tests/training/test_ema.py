"""Averaged weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sam2act.training.ema import WeightAverage, share_of_start


def small_network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    network[2].bias.requires_grad_(False)
    return network


def test_average_follows_the_closed_form() -> None:
    network = small_network()
    start = network[0].weight.detach().clone()
    average = WeightAverage(network, decay=0.75)
    for value in (1.0, 2.0, 3.0):
        with torch.no_grad():
            network[0].weight.fill_(value)
        average.update(network)
    expected = 0.75**3 * start + 0.25 * (0.75**2 * 1 + 0.75 * 2 + 3)
    torch.testing.assert_close(average.average["0.weight"], expected)
    assert "2.bias" not in average.average


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_share_of_the_first_weights_is_what_is_left_of_them(power: float) -> None:
    network = small_network()
    with torch.no_grad():
        network[0].weight.fill_(1.0)
    average = WeightAverage(network, decay=0.9, power=power)
    with torch.no_grad():
        network[0].weight.zero_()
    for _ in range(7):
        average.update(network)
    share = share_of_start(7, 0.9, power)
    assert share == pytest.approx(0.0 if power else 0.9**7)
    torch.testing.assert_close(average.average["0.weight"], torch.full((4, 3), share))


def test_the_decay_may_grow_with_the_updates() -> None:
    network = small_network()
    average = WeightAverage(network, decay=0.6, power=0.75)
    expected = network[0].weight.detach().clone()
    for update in range(6):
        with torch.no_grad():
            network[0].weight.fill_(float(update))
        average.update(network)
        decay = min(0.6, 1 - (1 + update) ** -0.75)
        expected = decay * expected + (1 - decay) * update
        if update == 2:  # a resumed run goes on counting
            stored = average.state_dict()
            average = WeightAverage(network, decay=0.6, power=0.75)
            average.load_state_dict(stored)
    torch.testing.assert_close(average.average["0.weight"], expected)


def test_applied_swaps_and_restores_even_after_an_error() -> None:
    network = small_network()
    average = WeightAverage(network, decay=0.5)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    average.average["0.weight"].fill_(9.0)
    with pytest.raises(KeyError):
        with average.applied(network):
            assert torch.equal(network[0].weight, torch.full((4, 3), 9.0))
            raise KeyError
    assert all(torch.equal(own[name], value) for name, value in network.state_dict().items())


def test_state_round_trip_and_foreign_state() -> None:
    network = small_network()
    average = WeightAverage(network, decay=0.5)
    average.average["0.bias"].fill_(4.0)
    other = WeightAverage(small_network(), decay=0.5)
    other.load_state_dict(average.state_dict())
    assert torch.equal(other.average["0.bias"], torch.full((4,), 4.0))
    with pytest.raises(ValueError, match="another set"):
        other.load_state_dict({"decay": 0.5, "average": {"unknown": torch.zeros(1)}})


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="peract.ema"):
        WeightAverage(small_network(), decay=1.0)
    with pytest.raises(ValueError, match="no trainable"):
        WeightAverage(small_network().requires_grad_(False), decay=0.5)
