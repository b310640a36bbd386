"""Hiera, the hierarchical vision transformer of SAM 2.1 (trunk of the image encoder).

Attribute names are those of the released SAM 2.1 weights. Tensors inside the trunk are
channels-last: (B, H, W, C).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam2act.nn.linear import Linear
from sam2act.nn.sam2_sizes import HieraSizes

MLP_RATIO = 4
QUERY_POOL_STRIDE = 2  # the first block of stages 2, 3 and 4 halves the resolution


def window_spans(length: int, window: int) -> list[tuple[slice, int]]:
    """The whole windows along an axis, then what is left; each with the length of its windows."""
    rest = length % window
    spans = [(slice(0, length - rest), window), (slice(length - rest, length), rest)]
    return [span for span in spans if span[0].stop > span[0].start]


def pool_2x2(x: Tensor) -> Tensor:
    """2x2 max pooling of (B, H, W, C)."""
    pooled = F.max_pool2d(x.movedim(-1, 1), QUERY_POOL_STRIDE, QUERY_POOL_STRIDE)
    return pooled.movedim(1, -1)


class WindowAttention(nn.Module):
    """Attention within windows; with `pool_queries` the output has half the resolution.

    Windows that reach beyond the grid are filled up with zero tokens, which take part as keys and
    values, since there is no mask in the released encoder. Their projection is the bias, and
    nothing is computed for them as queries.
    """

    def __init__(self, width: int, out_width: int, heads: int, pool_queries: bool) -> None:
        super().__init__()
        self.heads, self.pool_queries = heads, pool_queries
        self.qkv: nn.Module = Linear(width, 3 * out_width)
        self.proj = Linear(out_width, out_width)

    def forward(self, x: Tensor, window: int) -> Tensor:
        """(B, H, W, C) -> (B, H', W', C'); `window` 0 means global attention."""
        tokens = self.qkv(x)
        if not window:
            return self.proj(self._attend(tokens, 0))
        # Windows of one shape are attended to together: whole ones, and those at either border.
        rows = [
            torch.cat(
                [
                    self._attend_windows(tokens[:, row, column], (height, width), window)
                    for column, width in window_spans(x.shape[2], window)
                ],
                dim=2,
            )
            for row, height in window_spans(x.shape[1], window)
        ]
        return self.proj(torch.cat(rows, dim=1))

    def _attend_windows(self, tokens: Tensor, shape: tuple[int, int], window: int) -> Tensor:
        """(B, i p, j q, 3 C') of windows with `shape` (p, q) -> (B, i p', j q', C')."""
        p, q = shape
        rows = tokens.shape[1] // p
        windows = rearrange(tokens, "b (i p) (j q) c -> (b i j) p q c", p=p, q=q)
        attended = self._attend(windows, missing=window**2 - p * q)
        return rearrange(
            attended, "(b i j) p q c -> b (i p) (j q) c", i=rows, j=tokens.shape[2] // q
        )

    def _attend(self, tokens: Tensor, missing: int) -> Tensor:
        """(N, h, w, 3 C') queries, keys and values -> (N, h', w', C').

        `missing` padding tokens are added to the keys and values.
        """
        query, key, value = tokens.chunk(3, dim=-1)
        if self.pool_queries:
            query = pool_2x2(query)
        height, width = query.shape[1:3]
        query, key, value = (
            rearrange(t, "n y x (h d) -> n h (y x) d", h=self.heads) for t in (query, key, value)
        )
        if missing:
            _, key_bias, value_bias = cast(Tensor, self.qkv.bias).chunk(3)
            key = self._with_padding(key, key_bias, missing)
            value = self._with_padding(value, value_bias, missing)
        out = F.scaled_dot_product_attention(query, key, value)
        return rearrange(out, "n h (y x) d -> n y x (h d)", y=height, x=width)

    def _with_padding(self, tokens: Tensor, bias: Tensor, missing: int) -> Tensor:
        """(N, heads, L, d) -> (N, heads, L + missing, d)."""
        padding = rearrange(bias.to(tokens.dtype), "(h d) -> 1 h 1 d", h=self.heads)
        return torch.cat([tokens, padding.expand(len(tokens), -1, missing, -1)], dim=2)


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [Linear(width, MLP_RATIO * width), Linear(MLP_RATIO * width, width)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.layers[1](F.gelu(self.layers[0](x)))


class HieraBlock(nn.Module):
    """One transformer block; `window` 0 means global attention."""

    def __init__(self, width: int, out_width: int, heads: int, window: int, pool: bool) -> None:
        super().__init__()
        self.window, self.pool = window, pool
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = WindowAttention(width, out_width, heads, pool_queries=pool)
        self.norm2 = nn.LayerNorm(out_width, eps=1e-6)
        self.mlp = MLP(out_width)
        self.proj = Linear(width, out_width) if width != out_width else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H', W', C')."""
        shortcut, x = x, self.norm1(x)
        if self.proj is not None:
            shortcut = self.proj(x)
        if self.pool:
            shortcut = pool_2x2(shortcut)
        x = shortcut + self.attn(x, self.window)
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    """7x7 convolution with stride 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=7, stride=4, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / 4, W / 4, C)."""
        return self.proj(images).movedim(1, -1)


class Hiera(nn.Module):
    """The trunk: four stages, each halving the resolution and doubling the width."""

    def __init__(self, sizes: HieraSizes) -> None:
        super().__init__()
        self.checkpointing = False  # recompute blocks in the backward pass
        self.stage_ends = [sum(sizes.stages[: i + 1]) - 1 for i in range(len(sizes.stages))]
        self.patch_embed = PatchEmbedding(sizes.embed_dim)
        grid = sizes.window_pos_embed_bkg_spatial_size
        window = sizes.window_spec[0]
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.embed_dim, *grid))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, sizes.embed_dim, window, window))
        self.blocks = nn.ModuleList(self._build_blocks(sizes))

    def _build_blocks(self, sizes: HieraSizes) -> list[HieraBlock]:
        blocks, width, heads, stage = [], sizes.embed_dim, sizes.num_heads, 0
        for index in range(sum(sizes.stages)):
            starts_stage = index - 1 in self.stage_ends[:-1]
            # A block that starts a stage still uses the window of the stage before it.
            window = sizes.window_spec[stage]
            out_width = width
            if starts_stage:
                stage, heads, out_width = stage + 1, 2 * heads, 2 * width
            if index in sizes.global_att_blocks:
                window = 0
            blocks.append(HieraBlock(width, out_width, heads, window, pool=starts_stage))
            width = out_width
        return blocks

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> outputs of the four stages, finest first, each (B, C, h, w)."""
        x = self.patch_embed(images)
        x = x + self._position_embedding(x.shape[1], x.shape[2])
        outputs = []
        recompute = self.checkpointing and torch.is_grad_enabled()
        for index, block in enumerate(self.blocks):
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            if index in self.stage_ends:
                outputs.append(x.movedim(-1, 1))
        return outputs

    def _position_embedding(self, height: int, width: int) -> Tensor:
        """Interpolated background table plus the tiled window table: (1, height, width, C)."""
        window = self.pos_embed_window
        background = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        tiles = (1, 1, height // window.shape[2], width // window.shape[3])
        return (background + window.tile(tiles)).movedim(1, -1)
