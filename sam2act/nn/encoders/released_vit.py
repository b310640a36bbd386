"""Vision transformers of vision-language models, under the names of their released weights (timm).

DINOv2 with registers puts class and register tokens, which have no position, in front of the
patches; SigLIP has patches alone and pools them. Both give the patches after the last block but
one, as Prismatic models use them: the last block, the norm and the pooling are kept for the weights
only. Legend: M images, N patch tokens, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam2act.nn.encoders.dinov2 import MLP, Attention, LayerScale
from sam2act.nn.encoders.vision_transformer import (
    LAYER_NORM_EPS,
    PatchEmbedding,
    run_blocks,
)
from sam2act.nn.linear import Linear

INITIAL_STD = 0.02


@dataclass(frozen=True)
class ViTSizes:
    """Constructor values; see `DINOV2_REG_L` and `SIGLIP_SO400M`."""

    width: int
    depth: int
    heads: int
    hidden: int  # of the feed-forward parts
    image_side: int = 224  # pixels
    patch: int = 14
    registers: int = 0
    class_token: bool = False
    layer_scale: bool = False
    pooling: bool = False

    @property
    def tokens(self) -> int:
        """Patches of an image."""
        return (self.image_side // self.patch) ** 2


DINOV2_REG_L = ViTSizes(1024, 24, 16, 4096, registers=4, class_token=True, layer_scale=True)
SIGLIP_SO400M = ViTSizes(1152, 27, 16, 4304, pooling=True)


class ReleasedBlock(nn.Module):
    """One transformer block, with or without layer scale."""

    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=LAYER_NORM_EPS)
        self.attn = Attention(sizes.width, sizes.heads)
        self.ls1 = LayerScale(sizes.width) if sizes.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(sizes.width, eps=LAYER_NORM_EPS)
        self.mlp = MLP(sizes.width, sizes.hidden)
        self.ls2 = LayerScale(sizes.width) if sizes.layer_scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(M, N, C) -> (M, N, C)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class AttentionPooling(nn.Module):
    """The parameters of SigLIP's pooling; Prismatic models take the patches instead."""

    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        width = sizes.width
        self.latent = nn.Parameter(torch.zeros(1, 1, width))
        self.q = Linear(width, width)
        self.kv = Linear(width, 2 * width)
        self.proj = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = MLP(width, sizes.hidden)


class ReleasedViT(nn.Module):
    """Normalised images -> patch tokens after the last block but one."""

    def __init__(self, sizes: ViTSizes) -> None:
        """Random weights."""
        super().__init__()
        self.sizes = sizes
        self.checkpointing = False  # recompute blocks in the backward pass
        self.patch_embed = PatchEmbedding(sizes.width, sizes.patch)
        self.pos_embed = nn.Parameter(torch.empty(1, sizes.tokens, sizes.width))
        self.first = int(sizes.class_token) + sizes.registers  # tokens in front of the patches
        if sizes.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        if sizes.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, sizes.registers, sizes.width))
        self.blocks = nn.ModuleList(ReleasedBlock(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=LAYER_NORM_EPS)
        if sizes.pooling:
            self.attn_pool = AttentionPooling(sizes)
        nn.init.trunc_normal_(self.pos_embed, std=INITIAL_STD)

    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, side, side) -> (M, N, C), by row."""
        patches = self.patch_embed(images).flatten(1, 2) + self.pos_embed
        names = ("cls_token", "reg_token")
        front = [getattr(self, name) for name in names if hasattr(self, name)]
        tokens = torch.cat([*(x.expand(len(images), -1, -1) for x in front), patches], dim=1)
        tokens = run_blocks(self.blocks[:-1], tokens, self.checkpointing)
        return tokens[:, self.first :]
