"""What the plain vision transformers share: patches, the feed-forward part, colours, adapters.

Legend: M images, h and w tokens per column and row, C width.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam2act.core.errors import require_choice
from sam2act.nn.image_encoder import NORMALISATIONS
from sam2act.nn.lora import LoRAQKV

LAYER_NORM_EPS = 1e-6
MEAN_AND_DEVIATION = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # colours from -1 to 1
}


class PatchEmbedding(nn.Module):
    """One token per patch: a convolution whose stride is its kernel."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, h patch, w patch) -> (M, h, w, C)."""
        return self.proj(images).movedim(1, -1)


class Normalisation(nn.Module):
    """Colours in [0, 1] as they are, or less a mean and divided by a deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        require_choice("normalisation", name, NORMALISATIONS)
        self.name = name
        for buffer, values in zip(("mean", "deviation"), MEAN_AND_DEVIATION[name], strict=True):
            self.register_buffer(buffer, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        """(M, 3, H, W) -> the same shape."""
        return rgb if self.name == "none" else (rgb - self.mean) / self.deviation


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, recompute: bool) -> Tensor:
    """All blocks in turn; with `recompute` their inner values are computed again for gradients."""
    recompute = recompute and torch.is_grad_enabled()
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
    return x


def insert_lora(blocks: Iterable[nn.Module], rank: int) -> None:
    """Adapt queries and values of every block; call after pretrained weights are loaded."""
    for block in blocks:
        attention = block.attn
        assert isinstance(attention, nn.Module)
        assert isinstance(attention.qkv, nn.Linear), "LoRA is inserted once"
        attention.qkv = LoRAQKV(attention.qkv, rank)
