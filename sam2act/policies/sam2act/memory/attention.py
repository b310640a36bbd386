"""Attention of the current tokens to the memories of earlier keyframes (paper section IV-C).

Legend: M views of a batch (B * V), N tokens of a view (P * P), K memory tokens (frames * N), C
token width, D memory width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.nn.linear import Linear

ROPE_THETA = 10000.0
QUERY_POSITION_WEIGHT = 0.1


def rope_angles(grid_size: int, width: int) -> Tensor:
    """Rotation angles (N, width / 2): the first half turns with the column, the rest with the row.

    Axial rotary encoding of SAM 2: frequency `theta^(-4 i / width)` for pair i of each half.
    """
    frequency = ROPE_THETA ** (-torch.arange(0, width, 4, dtype=torch.float32) / width)
    cell = torch.arange(grid_size**2)
    column, row = (cell % grid_size).float(), (cell // grid_size).float()
    return torch.cat([column[:, None] * frequency, row[:, None] * frequency], dim=1)


def rotate_pairs(x: Tensor, angles: Tensor) -> Tensor:
    """Turn channel pairs (2i, 2i + 1) of (M, n * N, C) by `angles` (N, C / 2), in float32.

    The pattern repeats for every one of the n frames.
    """
    pairs = x.float().unflatten(-1, (-1, 2)).unflatten(1, (-1, len(angles)))
    cosine, sine = angles.cos(), angles.sin()
    first, second = pairs.unbind(-1)
    turned = torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return turned.flatten(-2).flatten(1, 2).to(x.dtype)


class RotaryAttention(nn.Module):
    """Single-head attention with rotary positions on queries and keys."""

    def __init__(self, width: int, key_width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(key_width, width)
        self.v_proj = Linear(key_width, width)
        self.out_proj = Linear(width, width)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, angles: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """(M, N, C) attends to (M, K, D); `mask` (M, 1, K) bool is True where a key counts."""
        out = F.scaled_dot_product_attention(
            rotate_pairs(self.q_proj(query), angles),
            rotate_pairs(self.k_proj(key), angles),
            self.v_proj(value),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        projected: Tensor = self.out_proj(out)
        return projected


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memories, feed-forward; each pre-norm with residual."""

    def __init__(self, width: int, memory_width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(width, width, dropout)
        self.cross_attn_image = RotaryAttention(width, memory_width, dropout)
        self.linear1 = Linear(width, hidden)
        self.linear2 = Linear(hidden, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        angles: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """(M, N, C) -> (M, N, C)."""
        normed = self.norm1(x)
        x = x + self.dropout(self.self_attn(normed, normed, normed, angles))
        keys = memory + memory_position
        attended = self.cross_attn_image(self.norm2(x), keys, memory, angles, mask)
        x = x + self.dropout(attended)
        hidden = self.dropout(F.relu(self.linear1(self.norm3(x))))
        out: Tensor = x + self.dropout(self.linear2(hidden))
        return out


class MemoryAttention(nn.Module):
    """Conditions the tokens of each view on the memories of that view."""

    angles: Tensor

    def __init__(  # noqa: PLR0913 (sizes)
        self,
        width: int,
        memory_width: int,
        *,
        grid_size: int,
        layers: int,
        hidden: int,
        dropout: float,
    ) -> None:
        """All layers start with equal weights, as copies of one (quirk N10)."""
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(width, memory_width, hidden, dropout) for _ in range(layers)
        )
        for layer in self.layers[1:]:
            layer.load_state_dict(self.layers[0].state_dict())
        self.norm = nn.LayerNorm(width)
        self.register_buffer("angles", rope_angles(grid_size, width), persistent=False)

    def start_local(self, bias: float, small: float) -> None:
        """Initial values that let memory be learned quickly; the forward pass is unchanged.

        With rotary positions, equal biases of query and key projections give a score that peaks
        at zero offset: a token first looks at its own cell. Small output projections keep the
        other sub-layers from disturbing the tokens.
        """
        for layer in self.layers:
            assert isinstance(layer, MemoryAttentionLayer)
            for projection in (layer.cross_attn_image.q_proj, layer.cross_attn_image.k_proj):
                projection.bias.data.zero_()
                projection.bias.data[0::2] = bias
            for projection in (layer.self_attn.out_proj, layer.linear2):
                nn.init.normal_(projection.weight, std=small)
                nn.init.normal_(projection.bias, std=small)

    def forward(
        self,
        x: Tensor,
        query_position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Conditioned tokens.

        Args:
            x: (M, N, C) tokens of the current frame.
            query_position: (M, N, C), added with a weight of 0.1.
            memory: (M, K, D), frame after frame.
            memory_position: (M or 1, K, D), added to the keys.
            mask: (M, 1, K) bool, True where a memory counts; None = everywhere.

        Returns:
            (M, N, C).
        """
        x = x + QUERY_POSITION_WEIGHT * query_position
        for layer in self.layers:
            x = layer(x, memory, memory_position, self.angles, mask)
        conditioned: Tensor = self.norm(x)
        return conditioned
