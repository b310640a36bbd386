"""Attention and feed-forward layers of the multi-view transformer.

Legend: B batch, N token, D model width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam2act.core.errors import ConfigError
from sam2act.nn.linear import Linear


def attend(query: Tensor, key: Tensor, value: Tensor, dropout: float, backend: str) -> Tensor:
    """Scaled dot-product attention; all tensors (B, heads, N, width per head)."""
    if backend == "xformers":
        return _attend_xformers(query, key, value, dropout)
    if dropout and query.device.type == "cpu" and torch.is_grad_enabled():
        # With dropout the CPU has no fused kernel, and three matrices of probabilities would be
        # kept for the backward pass: they are computed again there, with the same random numbers.
        attention = F.scaled_dot_product_attention
        return checkpoint(attention, query, key, value, dropout_p=dropout, use_reentrant=False)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


def xformers_attention() -> Callable[..., Tensor]:
    """xformers' kernel, imported on demand.

    Raises:
        ConfigError: xformers is absent.
    """
    try:
        from xformers.ops import memory_efficient_attention
    except ImportError as error:
        raise ConfigError(
            "attention_backend: xformers needs the extra xformers; set attention_backend: sdpa, "
            "which computes the same"
        ) from error
    return memory_efficient_attention


def _attend_xformers(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    kernel = xformers_attention()
    query, key, value = (rearrange(t, "b h n d -> b n h d") for t in (query, key, value))
    if not query.is_cuda:
        raise ConfigError(
            "attention_backend: xformers runs on CUDA devices only; set attention_backend: sdpa"
        )
    return rearrange(kernel(query, key, value, p=dropout), "b n h d -> b h n d")


class Attention(nn.Module):
    """Multi-head self-attention without biases on query, key and value."""

    def __init__(
        self, width: int, heads: int, head_width: int, dropout: float, backend: str = "sdpa"
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.backend = heads, dropout, backend
        inner = heads * head_width
        self.to_query = Linear(width, inner, bias=False)
        self.to_key_value = Linear(width, 2 * inner, bias=False)
        self.to_out = Linear(inner, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D); `dropout` acts on attention probabilities in training."""
        query = self.to_query(x_BND)
        key, value = self.to_key_value(x_BND).chunk(2, dim=-1)
        query, key, value = (
            rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in (query, key, value)
        )
        out = attend(query, key, value, self.dropout if self.training else 0.0, self.backend)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class GatedFeedForward(nn.Module):
    """Linear, gate by GELU (GEGLU), linear."""

    def __init__(self, width: int, multiplier: int) -> None:
        super().__init__()
        self.expand = Linear(width, 2 * multiplier * width)
        self.contract = Linear(multiplier * width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        content, gate = self.expand(x_BND).chunk(2, dim=-1)
        return self.contract(content * F.gelu(gate))


class TransformerLayer(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual connection."""

    def __init__(self, attention: Attention, feed_forward: GatedFeedForward) -> None:
        super().__init__()
        width = attention.to_out.out_features
        self.attention_norm = nn.LayerNorm(width)
        self.attention = attention
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x_BND = x_BND + self.attention(self.attention_norm(x_BND))
        return x_BND + self.feed_forward(self.feed_forward_norm(x_BND))
