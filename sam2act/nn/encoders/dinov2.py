"""DINOv2's vision transformer, which Depth Anything V2 and vision-language models use too.

Attribute names are those of the released DINOv2 weights. The table of positions keeps the grid of
the weights (37 x 37) and is interpolated to the grid of the image in every pass.

Legend: M images, h and w tokens per column and row (P per side), R register tokens, N = 1 + R + h w
tokens, C width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
from sam2act.nn.encoders.weight_forms import VitFile, load_strictly, read_dinov2
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.nn.linear import Linear


@dataclass(frozen=True)
class DinoSizes:
    """Constructor values of the transformer; defaults are ViT-B/14 without registers."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 14
    table_side: int = 37  # of the table of positions, from images of 518 pixels
    registers: int = 0
    antialias: bool = False  # in the interpolation of positions; True for weights with registers


DINO_SIZES = {
    "vits14": DinoSizes(384, 12, 6),
    "vitb14": DinoSizes(),
    "vitl14": DinoSizes(1024, 24, 16),
    "vits14_reg": DinoSizes(384, 12, 6, registers=4, antialias=True),
    "vitb14_reg": DinoSizes(registers=4, antialias=True),
    "vitl14_reg": DinoSizes(1024, 24, 16, registers=4, antialias=True),
    "tiny": DinoSizes(32, 2, 2, table_side=5),  # for tests
}


class Attention(nn.Module):
    """Attention of all tokens to all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv: nn.Module = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (M, N, C)."""
        query, key, value = rearrange(
            self.qkv(x), "m n (t h d) -> t m h n d", t=3, h=self.heads
        ).unbind()
        out = F.scaled_dot_product_attention(query, key, value)
        return self.proj(rearrange(out, "m h n d -> m n (h d)"))


class LayerScale(nn.Module):
    """One learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.gamma


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class DinoBlock(nn.Module):
    """One transformer block with layer scale."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = MLP(width, 4 * width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (M, N, C)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoV2(nn.Module):
    """The transformer: images -> normalised tokens."""

    def __init__(self, sizes: DinoSizes) -> None:
        super().__init__()
        self.registers, self.antialias = sizes.registers, sizes.antialias
        self.checkpointing = False  # recompute blocks in the backward pass
        self.patch_embed = PatchEmbedding(sizes.width, sizes.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + sizes.table_side**2, sizes.width))
        if sizes.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, sizes.registers, sizes.width))
        self.blocks = nn.ModuleList(DinoBlock(sizes.width, sizes.heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=LAYER_NORM_EPS)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, 14 h, 14 w), normalised -> (M, N, C): class token, registers, patches by row."""
        x = run_blocks(self.blocks, self._tokens(images), self.checkpointing)
        return self.norm(x)

    def _tokens(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        height, width = patches.shape[1:3]
        patches = patches.flatten(1, 2) + self._positions(height, width)
        first = self.cls_token + self.pos_embed[:, :1]
        parts = [first, self.register_tokens] if self.registers else [first]
        return torch.cat([*(part.expand(len(images), -1, -1) for part in parts), patches], dim=1)

    def _positions(self, height: int, width: int) -> Tensor:
        """The table for a grid of `height` x `width`, bicubic: (1, height * width, C)."""
        table = self.pos_embed[:, 1:]
        side = int(table.shape[1] ** 0.5)
        if (height, width) == (side, side):
            return table
        planes = rearrange(table.float(), "b (h w) c -> b c h w", h=side)
        planes = F.interpolate(planes, (height, width), mode="bicubic", antialias=self.antialias)
        return rearrange(planes, "b c h w -> b (h w) c")


class DinoEncoder(nn.Module):
    """DINOv2 as an image encoder: the patch tokens after the final norm; no finer levels.

    Depth Anything V2 is this transformer with other weights: of the four layers that its depth
    head takes, the policy gets the last one, which is the transformer's output.
    """

    def __init__(self, sizes: DinoSizes, normalisation: str = "imagenet") -> None:
        """Random weights.

        Args:
            sizes: of the transformer.
            normalisation: imagenet (as DINOv2 was trained) or none.
        """
        super().__init__()
        self.patch = sizes.patch
        self.channels = (0, 0, sizes.width)
        self.normalisation = Normalisation(normalisation)
        self.trunk = DinoV2(sizes)

    @property
    def checkpointing(self) -> bool:
        """Whether blocks are recomputed in the backward pass."""
        return self.trunk.checkpointing

    @checkpointing.setter
    def checkpointing(self, value: bool) -> None:
        self.trunk.checkpointing = value

    def forward(self, rgb: Tensor) -> FeaturePyramid:
        """(M, 3, patch P, patch P) in [0, 1] -> pyramid with the coarse level alone."""
        tokens = self.trunk(self.normalisation(rgb))[:, 1 + self.trunk.registers :]
        height = rgb.shape[2] // self.patch
        return FeaturePyramid(None, None, rearrange(tokens, "m (h w) c -> m c h w", h=height))

    def input_size(self, grid_size: int) -> int:
        """Side of the input image for P = `grid_size`."""
        return self.patch * grid_size

    def insert_lora(self, rank: int) -> None:
        """Adapt queries and values of every block; call after `load_pretrained`."""
        insert_lora(self.trunk.blocks, rank)

    def load_pretrained(self, key: str, path: Path, form: VitFile) -> None:
        """Read a file of DINOv2 or Depth Anything V2; call before `insert_lora`.

        Args:
            key: the configuration key that names the file, for messages.
            path: the file, of the authors, of transformers or (DINOv2) of timm.
            form: which of the two.

        Raises:
            ConfigError: the file is unreadable, or holds an encoder of other sizes or kind.
        """
        load_strictly(self.trunk, read_dinov2(key, path, form), key, path)
