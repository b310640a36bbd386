"""Blocks of a vision transformer; names of modules are those of the released weights.

Legend: B samples, N tokens, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sam2act.nn.attention import attend
from sam2act.nn.linear import Linear

MLP_RATIO = 4
NORM_EPS = 1e-6


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, attn_dropout: float, proj_dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout, self.proj_dropout = heads, attn_dropout, proj_dropout
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        query, key, value = rearrange(self.qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.heads)
        out = attend(query, key, value, self.dropout if self.training else 0.0, "sdpa")
        projected = self.proj(rearrange(out, "b h n d -> b n (h d)"))
        return F.dropout(projected, self.proj_dropout, self.training)


class _FeedForward(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = Linear(width, MLP_RATIO * width)
        self.fc2 = Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        hidden = F.dropout(F.gelu(self.fc1(x)), self.dropout, self.training)
        return F.dropout(self.fc2(hidden), self.dropout, self.training)


class Block(nn.Module):
    """Self-attention and feed-forward part, each behind a norm and with a residual connection."""

    def __init__(
        self, width: int, heads: int, attn_dropout: float = 0.0, proj_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = _SelfAttention(width, heads, attn_dropout, proj_dropout)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = _FeedForward(width, proj_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out
