"""Hiera, the hierarchical vision transformer of SAM 2.1 (trunk of the image encoder).

Attribute names are those of the released SAM 2.1 weights. Tensors inside the trunk are
channels-last: (B, H, W, C).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sam2act.models.sam2_sizes import HieraSizes

MLP_RATIO = 4
QUERY_POOL_STRIDE = 2  # the first block of stages 2, 3 and 4 halves the resolution


def partition_windows(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """(B, H, W, C) -> (B * windows, window, window, C), zero-padded below and to the right.

    Also returns the padded height and width.
    """
    height, width = x.shape[1:3]
    pad_height, pad_width = -height % window, -width % window
    x = F.pad(x, (0, 0, 0, pad_width, 0, pad_height))
    padded = (height + pad_height, width + pad_width)
    return rearrange(x, "b (i p) (j q) c -> (b i j) p q c", p=window, q=window), padded


def merge_windows(windows: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The inverse of `partition_windows`; `padded` and `size` are (height, width)."""
    rows, columns = padded[0] // windows.shape[1], padded[1] // windows.shape[2]
    x = rearrange(windows, "(b i j) p q c -> b (i p) (j q) c", i=rows, j=columns)
    return x[:, : size[0], : size[1]]


def pool_2x2(x: Tensor) -> Tensor:
    """2x2 max pooling of (B, H, W, C)."""
    pooled = F.max_pool2d(x.movedim(-1, 1), QUERY_POOL_STRIDE, QUERY_POOL_STRIDE)
    return pooled.movedim(1, -1)


class WindowAttention(nn.Module):
    """Attention within a window; with `pool_queries` the output has half the resolution."""

    def __init__(self, width: int, out_width: int, heads: int, pool_queries: bool) -> None:
        super().__init__()
        self.heads, self.pool_queries = heads, pool_queries
        self.qkv: nn.Module = nn.Linear(width, 3 * out_width)
        self.proj = nn.Linear(out_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h', w', C')."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        if self.pool_queries:
            query = pool_2x2(query)
        height, width = query.shape[1:3]
        query, key, value = (
            rearrange(t, "b y x (h d) -> b h (y x) d", h=self.heads) for t in (query, key, value)
        )
        out = F.scaled_dot_product_attention(query, key, value)
        return self.proj(rearrange(out, "b h (y x) d -> b y x (h d)", y=height, x=width))


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(width, MLP_RATIO * width), nn.Linear(MLP_RATIO * width, width)]
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
        self.proj = nn.Linear(width, out_width) if width != out_width else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H', W', C')."""
        shortcut, x = x, self.norm1(x)
        if self.proj is not None:
            shortcut = self.proj(x)
        if self.pool:
            shortcut = pool_2x2(shortcut)
        x = shortcut + self._attend(x, out_size=(shortcut.shape[1], shortcut.shape[2]))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor, out_size: tuple[int, int]) -> Tensor:
        if not self.window:
            return self.attn(x)
        # Padding tokens take part in the attention: there is no mask in the released encoder.
        windows, padded = partition_windows(x, self.window)
        if self.pool:
            padded = (padded[0] // QUERY_POOL_STRIDE, padded[1] // QUERY_POOL_STRIDE)
        return merge_windows(self.attn(windows), padded, out_size)


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
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                outputs.append(x.movedim(-1, 1))
        return outputs

    def _position_embedding(self, height: int, width: int) -> Tensor:
        """Interpolated background table plus the tiled window table: (1, height, width, C)."""
        window = self.pos_embed_window
        background = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        tiles = (1, 1, height // window.shape[2], width // window.shape[3])
        return (background + window.tile(tiles)).movedim(1, -1)
