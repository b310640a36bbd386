"""Attention and feed-forward layers against explicit formulas; the choice of the backend."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.nn.attention import (
    Attention,
    GatedFeedForward,
    TransformerLayer,
    attend,
)
from tests.nn.dropout import set_attention_dropout

HEADS, WIDTH, HEAD_WIDTH = 3, 10, 4


class PretendCuda(Tensor):
    """A CPU tensor that says it lies on a GPU."""

    is_cuda = True  # type: ignore[assignment]


@pytest.fixture
def layer() -> Attention:
    torch.manual_seed(0)
    return Attention(WIDTH, HEADS, HEAD_WIDTH, dropout=0.4)


@pytest.fixture
def fake_xformers(monkeypatch) -> list[tuple[torch.Size, float]]:
    """Replaces the package by explicit attention; returns the list of its calls."""
    calls: list[tuple[torch.Size, float]] = []

    def memory_efficient_attention(query: Tensor, key: Tensor, value: Tensor, p: float) -> Tensor:
        calls.append((query.shape, p))
        out = explicit_attention(*(t.transpose(1, 2) for t in (query, key, value)))
        return out.transpose(1, 2)

    package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.memory_efficient_attention = memory_efficient_attention  # type: ignore[attr-defined]
    package.ops = ops  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    return calls


def explicit_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, heads, N, d), written out."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return weights @ value


def heads_tensors(count: int = 3, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, HEADS, 5, HEAD_WIDTH, generator=generator) for _ in range(count)]


def test_attention_equals_the_formula(layer: Attention) -> None:
    x = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(2))
    query = x @ layer.to_query.weight.T
    key = x @ layer.to_key_value.weight[: HEADS * HEAD_WIDTH].T
    value = x @ layer.to_key_value.weight[HEADS * HEAD_WIDTH :].T
    columns = []
    for head in range(HEADS):  # a head owns neighbouring channels
        part = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        columns.append(explicit_attention(query[..., part], key[..., part], value[..., part]))
    expected = torch.cat(columns, -1) @ layer.to_out.weight.T + layer.to_out.bias
    torch.testing.assert_close(layer.eval()(x), expected, atol=1e-5, rtol=1e-5)


def test_query_key_value_have_no_bias(layer: Attention) -> None:
    assert layer.to_query.bias is None and layer.to_key_value.bias is None
    assert layer.to_out.bias is not None


def test_dropout_acts_in_training_only(layer: Attention) -> None:
    x = torch.randn(1, 6, WIDTH)
    layer.train()
    assert not torch.equal(layer(x), layer(x))
    exact = layer.eval()(x)
    assert torch.equal(layer(x), exact)
    set_attention_dropout(torch.nn.Sequential(layer), 0.0)
    assert torch.equal(layer.train()(x), exact)


def test_dropped_probabilities_are_computed_again_with_the_same_random_numbers() -> None:
    inputs = [torch.randn(2, HEADS, 40, HEAD_WIDTH).requires_grad_() for _ in range(3)]
    kept: list[int] = []
    results = []
    for attention in (F.scaled_dot_product_attention, None):
        for tensor in inputs:
            tensor.grad = None
        torch.manual_seed(1)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            out = (
                attend(*inputs, dropout=0.4, backend="sdpa")
                if attention is None
                else attention(*inputs, dropout_p=0.4)
            )
        largest = max(kept, default=0)
        torch.manual_seed(2)  # what is drawn afterwards must not matter
        out.square().sum().backward()
        results.append((out.detach(), *(tensor.grad for tensor in inputs)))
        assert (largest >= 2 * HEADS * 40 * 40) == (attention is not None)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_feed_forward_gates_the_first_half_by_the_second() -> None:
    layer = GatedFeedForward(WIDTH, multiplier=2)
    x = torch.randn(4, 3, WIDTH)
    hidden = x @ layer.expand.weight.T + layer.expand.bias
    content, gate = hidden[..., : 2 * WIDTH], hidden[..., 2 * WIDTH :]
    gelu = gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
    expected = (content * gelu) @ layer.contract.weight.T + layer.contract.bias
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


def test_layer_normalises_before_and_adds_after(layer: Attention) -> None:
    feed_forward = GatedFeedForward(WIDTH, multiplier=2)
    block = TransformerLayer(layer, feed_forward).eval()
    x = torch.randn(2, 5, WIDTH) * 3 + 1
    middle = x + layer(block.attention_norm(x))
    torch.testing.assert_close(block(x), middle + feed_forward(block.feed_forward_norm(middle)))


def test_xformers_gets_tokens_before_heads(fake_xformers) -> None:
    query, key, value = heads_tensors()
    pretended = [t.as_subclass(PretendCuda) for t in (query, key, value)]
    actual = attend(*pretended, 0.25, "xformers")
    assert fake_xformers == [((2, 5, HEADS, HEAD_WIDTH), 0.25)]
    expected = attend(query, key, value, 0.0, "sdpa")
    torch.testing.assert_close(actual.as_subclass(Tensor), expected, atol=1e-6, rtol=1e-5)


def test_xformers_on_the_cpu_is_an_error_with_a_remedy(fake_xformers) -> None:
    layer = Attention(WIDTH, HEADS, HEAD_WIDTH, dropout=0.0, backend="xformers")
    with pytest.raises(ConfigError, match=r"xformers runs on CUDA.*attention_backend: sdpa"):
        layer(torch.randn(1, 4, WIDTH))
    assert fake_xformers == []


def test_missing_xformers_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "xformers", None)
    monkeypatch.setitem(sys.modules, "xformers.ops", None)
    with pytest.raises(ConfigError, match=r"extra xformers.*attention_backend: sdpa"):
        attend(*heads_tensors(), 0.0, "xformers")


@pytest.mark.gpu
def test_xformers_equals_the_default_backend() -> None:
    pytest.importorskip("xformers.ops")
    tensors = [t.cuda().half() for t in heads_tensors()]
    expected = attend(*tensors, 0.0, "sdpa")
    torch.testing.assert_close(attend(*tensors, 0.0, "xformers"), expected, atol=2e-3, rtol=2e-3)
