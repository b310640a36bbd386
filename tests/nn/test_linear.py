"""The linear layer computes what `nn.Linear` does, whichever library multiplies."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from sam2act.nn import linear
from sam2act.nn.linear import LEAST_PRODUCTS, Linear

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


def layers(bias: bool = True) -> tuple[Linear, nn.Linear]:
    """Ours and torch's, with the same weights."""
    torch.manual_seed(0)
    ours = Linear(96, 160, bias=bias)
    theirs = nn.Linear(96, 160, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def large_input(gaps: bool = False) -> Tensor:
    """(3, 40, 96), large enough for oneDNN."""
    x = torch.randn(3, 96, 40).transpose(1, 2) if gaps else torch.randn(3, 40, 96)
    assert x.numel() * 160 >= LEAST_PRODUCTS
    return x


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gaps", [True, False])
def test_values_and_gradients_equal_those_of_torch(bias: bool, gaps: bool) -> None:
    ours, theirs = layers(bias)
    x = large_input(gaps)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    with mock.patch.object(linear, "_product", wraps=linear._product) as product:
        found, expected = ours(inputs[0]), theirs(inputs[1])
        weights = torch.randn_like(expected)
        (found * weights).sum().backward()
        assert product.call_count == 3  # forward, and both derivatives
    (expected * weights).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-5, atol=1e-5)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-5, atol=1e-4)


@needs_onednn
def test_result_may_be_changed_in_place() -> None:
    ours, theirs = layers()
    for layer in (ours, theirs):
        y = layer(torch.ones(3, 40, 96))
        y[..., :8] += 2 * y[..., 8:16]
        y.square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-5, atol=1e-3)


@needs_onednn
def test_only_derivatives_that_are_wanted_are_computed() -> None:
    ours, _ = layers()
    ours.requires_grad_(False)
    x = large_input().requires_grad_()
    with mock.patch.object(linear, "_product", wraps=linear._product) as product:
        ours(x).sum().backward()
        assert product.call_count == 2
        with torch.no_grad():
            ours(x)
        assert product.call_count == 3
    assert x.grad is not None and ours.weight.grad is None and ours.bias.grad is None


@pytest.mark.parametrize("why", ["small", "switched off", "double precision", "compiled"])
def test_torch_multiplies_where_onednn_does_not_suit(why: str, monkeypatch) -> None:
    ours, theirs = layers()
    x = large_input()
    monkeypatch.setattr(linear, "_product", mock.Mock(side_effect=AssertionError))
    if why == "small":
        x = x[:1, :1]
    if why == "double precision":
        x, ours, theirs = x.double(), ours.double(), theirs.double()
    if why == "compiled":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with torch.backends.mkldnn.flags(enabled=why != "switched off"):
        assert torch.equal(ours(x), theirs(x))


def test_frozen_weights_are_rounded_once_and_again_when_they_change() -> None:
    ours, theirs = layers()
    x = large_input()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), theirs(x))
        kept = ours._rounded
        ours(x)
        assert ours._rounded is kept
    with torch.no_grad():
        for layer in (ours, theirs):
            layer.weight.mul_(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # autocast has a cache itself
        assert torch.equal(ours(x), theirs(x)) and ours._rounded is not kept
    ours.load_state_dict(layers()[0].state_dict())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), layers()[1](x))
    assert torch.equal(copy.deepcopy(ours)(x), ours(x))


def test_trained_weights_get_their_gradient_under_autocast() -> None:
    ours, theirs = layers()
    for layer in (ours, theirs):
        with torch.autocast("cpu", torch.bfloat16):
            layer(torch.ones(3, 40, 96)).float().square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    assert ours._rounded is None
