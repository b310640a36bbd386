"""Low-rank adaptation of the fused projection."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sam2act.nn.lora import LoRAQKV, adapter_parameters


@pytest.fixture
def layer() -> LoRAQKV:
    torch.manual_seed(0)
    layer = LoRAQKV(nn.Linear(6, 3 * 12), rank=2)
    for up in (layer.linear_b_q, layer.linear_b_v):
        nn.init.normal_(up.weight)
    return layer


def test_fresh_adapter_is_the_identity() -> None:
    qkv = nn.Linear(6, 18)
    layer = LoRAQKV(qkv, rank=2)
    x = torch.randn(4, 6)
    assert torch.equal(layer(x), qkv(x))


def test_published_cover_reaches_input_width_only(layer: LoRAQKV) -> None:
    x = torch.randn(4, 6)
    changed = (layer(x) - layer.qkv(x)).abs().amax(0) > 0
    assert changed[:6].all() and changed[-6:].all()  # half of the 12 queries, half of the values
    assert not changed[6:-6].any()


def test_full_cover_reaches_all_queries_and_values() -> None:
    layer = LoRAQKV(nn.Linear(6, 3 * 12), rank=2, cover="full")
    for up in (layer.linear_b_q, layer.linear_b_v):
        nn.init.normal_(up.weight)
    x = torch.randn(4, 6)
    changed = (layer(x) - layer.qkv(x)).abs().amax(0) > 0
    assert changed[:12].all() and changed[24:].all() and not changed[12:24].any()


def test_merged_layer_computes_the_same(layer: LoRAQKV) -> None:
    x = torch.randn(5, 6)
    torch.testing.assert_close(layer.merge()(x), layer(x))


def test_adapter_parameters_are_the_four_matrices(layer: LoRAQKV) -> None:
    assert [tuple(p.shape) for p in adapter_parameters(nn.Sequential(layer))] == [
        (2, 6),
        (6, 2),
        (2, 6),
        (6, 2),
    ]
