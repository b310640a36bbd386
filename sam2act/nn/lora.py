"""Low-rank adaptation of the fused query/key/value projection (paper section IV-B).

The published update has no alpha factor and is addressed by the *input* width of the layer, so in
the three blocks that double the width it reaches half of the queries and half of the values only
(quirk N5). `cover="full"` adapts all queries and values instead.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sam2act.nn.linear import Linear


class LoRAQKV(nn.Module):
    """`qkv(x)` plus rank-r updates of its first (query) and last (value) channels."""

    def __init__(self, qkv: nn.Linear, rank: int, cover: str = "published") -> None:
        super().__init__()
        width = qkv.in_features if cover == "published" else qkv.out_features // 3
        self.qkv = qkv
        self.dead = False  # the update is known to be zero and is not computed
        self.linear_a_q = Linear(qkv.in_features, rank, bias=False)
        self.linear_b_q = Linear(rank, width, bias=False)
        self.linear_a_v = Linear(qkv.in_features, rank, bias=False)
        self.linear_b_v = Linear(rank, width, bias=False)
        self.reset_adapter()

    @property
    def covered(self) -> int:
        """Number of query (and of value) channels that the update reaches."""
        return self.linear_b_q.out_features

    @property
    def moved(self) -> bool:
        """Whether the update differs from zero."""
        return bool(self.linear_b_q.weight.any() or self.linear_b_v.weight.any())

    @property
    def bias(self) -> Tensor:
        """Bias of the projection; the update has none."""
        return self.qkv.bias

    def reset_adapter(self) -> None:
        """Start as the identity: Kaiming-uniform down projections, zero up projections."""
        for down in (self.linear_a_q, self.linear_a_v):
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        for up in (self.linear_b_q, self.linear_b_v):
            nn.init.zeros_(up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., 3 * out)."""
        y, n = self.qkv(x), self.covered
        if self.dead:
            return y
        y[..., :n] += self.linear_b_q(self.linear_a_q(x))
        y[..., -n:] += self.linear_b_v(self.linear_a_v(x))
        return y

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """The plain projection with the adapter folded into a copy of its weight."""
        merged = Linear(self.qkv.in_features, self.qkv.out_features)
        weight = self.qkv.weight.clone()
        weight[: self.covered] += self.linear_b_q.weight @ self.linear_a_q.weight
        weight[-self.covered :] += self.linear_b_v.weight @ self.linear_a_v.weight
        merged.to(weight.device, weight.dtype)
        merged.weight.copy_(weight)
        merged.bias.copy_(self.qkv.bias)
        return merged


def adapters(module: nn.Module) -> list[LoRAQKV]:
    """Every `LoRAQKV` below `module`."""
    return [layer for layer in module.modules() if isinstance(layer, LoRAQKV)]


def adapter_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The trainable low-rank matrices of every `LoRAQKV` below `module`."""
    return [
        parameter
        for layer in adapters(module)
        for name, parameter in layer.named_parameters()
        if not name.startswith("qkv.")
    ]
