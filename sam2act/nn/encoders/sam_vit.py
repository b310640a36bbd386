"""The image encoder of Segment Anything: a plain vision transformer with windows, and its neck.

Attribute names are those of the released SAM weights. Tables of positions have the size of the
grid that the encoder is built for; tables of another size are resized when a file is loaded.

Legend: M images, h and w tokens per column and row (P per side), C width, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sam2act.nn.encoders.vision_transformer import (
    LAYER_NORM_EPS,
    Normalisation,
    PatchEmbedding,
    insert_lora,
    run_blocks,
)
from sam2act.nn.encoders.weight_forms import load_strictly, read_sam
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.nn.linear import Linear


@dataclass(frozen=True)
class SamVitSizes:
    """Constructor values of the encoder; defaults are ViT-B."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    neck_width: int = 256


SAM_VIT_SIZES = {
    "vit_b": SamVitSizes(),
    "vit_l": SamVitSizes(1024, 24, 16, global_blocks=(5, 11, 17, 23)),
    "vit_h": SamVitSizes(1280, 32, 16, global_blocks=(7, 15, 23, 31)),
    "tiny": SamVitSizes(32, 2, 2, window=7, global_blocks=(1,), neck_width=16),  # for tests
}


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (M, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, h, w) -> (M, C, h, w)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class RelativeAttention(nn.Module):
    """Attention over a square of `side` tokens whose scores depend on relative positions too.

    The score of query (y, x) and key (v, u) gains q . (H[y - v] + W[x - u]), with one learned
    vector per distance and axis.
    """

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv: nn.Module = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(M, h, w, C) -> (M, h, w, C); squares of `side` tokens attend within themselves.

        Squares that reach beyond the grid are filled up with zero tokens. They take part as keys
        and values, since the released encoder has no mask; their projection is the bias.
        """
        height, width = x.shape[1:3]
        rows, columns = -(-height // self.side), -(-width // self.side)
        tokens = self.qkv(x)
        if (rows * self.side, columns * self.side) != (height, width):
            bias = cast(Tensor, self.qkv.bias).to(tokens.dtype)
            full = bias.expand(len(x), rows * self.side, columns * self.side, -1).clone()
            full[:, :height, :width] = tokens
            tokens = full
        squares = rearrange(tokens, "m (r y) (c x) e -> (m r c) y x e", r=rows, c=columns)
        attended = self._attend(squares)
        out = rearrange(attended, "(m r c) y x e -> m (r y) (c x) e", r=rows, c=columns)
        return self.proj(out[:, :height, :width])

    def _attend(self, tokens: Tensor) -> Tensor:
        """(N, side, side, 3 C) queries, keys and values -> (N, side, side, C)."""
        query, key, value = rearrange(tokens, "n y x (t h d) -> t n h y x d", t=3, h=self.heads)
        tables = (self._by_pair(self.rel_pos_h), self._by_pair(self.rel_pos_w))
        by_row = torch.einsum("nhyxd,yvd->nhyxv", query, tables[0].to(query.dtype))
        by_column = torch.einsum("nhyxd,xud->nhyxu", query, tables[1].to(query.dtype))
        bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
        query, key, value = (part.flatten(2, 3) for part in (query, key, value))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return rearrange(out, "n h (y x) d -> n y x (h d)", y=self.side)

    def _by_pair(self, table: Tensor) -> Tensor:
        """(2 side - 1, d) by distance -> (side, side, d) by position of query and key."""
        position = torch.arange(self.side, device=table.device)
        return table[position[:, None] - position[None, :] + self.side - 1]


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = Linear(width, 4 * width)
        self.lin2 = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.lin2(F.gelu(self.lin1(x)))


class SamBlock(nn.Module):
    """One transformer block; attention reaches over squares of `side` tokens."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = RelativeAttention(width, heads, side)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        """(M, h, w, C) -> (M, h, w, C)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SamVitEncoder(nn.Module):
    """SAM's vision transformer and neck for a grid of P x P tokens; it has no finer levels."""

    def __init__(self, sizes: SamVitSizes, grid_size: int, normalisation: str = "none") -> None:
        """Random weights, and positions at zero.

        Args:
            sizes: of the transformer.
            grid_size: P.
            normalisation: none (raw colours, as the published policies) or imagenet (as SAM).
        """
        super().__init__()
        self.patch, self.grid_size = sizes.patch, grid_size
        self.checkpointing = False  # recompute blocks in the backward pass
        self.channels = (0, 0, sizes.neck_width)
        self.normalisation = Normalisation(normalisation)
        self.patch_embed = PatchEmbedding(sizes.width, sizes.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid_size, grid_size, sizes.width))
        self.blocks = nn.ModuleList(
            SamBlock(
                sizes.width,
                sizes.heads,
                side=grid_size if index in sizes.global_blocks else sizes.window,
            )
            for index in range(sizes.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(sizes.width, sizes.neck_width, kernel_size=1, bias=False),
            ChannelNorm(sizes.neck_width, eps=LAYER_NORM_EPS),
            nn.Conv2d(sizes.neck_width, sizes.neck_width, kernel_size=3, padding=1, bias=False),
            ChannelNorm(sizes.neck_width, eps=LAYER_NORM_EPS),
        )

    def forward(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, patch P, patch P) in [0, 1] -> pyramid with the coarse level alone."""
        x = self.patch_embed(self.normalisation(rgb)) + self.pos_embed
        x = run_blocks(self.blocks, x, self.checkpointing)
        return FeaturePyramid(None, None, self.neck(x.movedim(-1, 1)))

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        return self.patch * grid_size

    def insert_lora(self, rank: int) -> None:
        """Adapt queries and values of every block; call after `load_pretrained`."""
        insert_lora(self.blocks, rank)

    def load_pretrained(self, key: str, path: Path) -> None:
        """Read a file of SAM, of transformers' SamModel or of timm; call before `insert_lora`.

        Args:
            key: the configuration key that names the file, for messages.
            path: the file.

        Raises:
            ConfigError: the file is unreadable, or holds an encoder of other sizes.
        """
        state = read_sam(key, path)
        load_strictly(self, self._resized(state), key, path)

    def _resized(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """`state` with tables of positions for the grid of this encoder."""
        mine = self.state_dict()
        return {
            name: resize_table(value, mine[name].shape[-2]) if _is_table(name, value) else value
            for name, value in state.items()
            if name in mine or not _is_table(name, value)
        }


def _is_table(name: str, value: Tensor) -> bool:
    """Whether a tensor is a table of positions of the released form."""
    if name == "pos_embed":
        return value.ndim == 4
    return name.endswith((".rel_pos_h", ".rel_pos_w")) and value.ndim == 2


def resize_table(table: Tensor, size: int) -> Tensor:
    """A table of positions with `size` entries per axis, by linear interpolation.

    Args:
        table: (1, p, p, C) by position, or (n, d) by distance.
        size: entries per axis afterwards.
    """
    if table.shape[-2] == size:
        return table
    table = table.float()
    if table.ndim == 4:
        planes = table.movedim(-1, 1)
        planes = F.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
        return planes.movedim(1, -1)
    return F.interpolate(table.T[None], size, mode="linear", align_corners=False)[0].T
