"""Encodes a keyframe (its tokens and its predicted heat map) as a memory (paper section IV-C).

Legend: M views of a batch (B * V), P tokens per side, N = P * P, S side of a heat map, C token
width, D memory width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.nn.linear import Linear
from sam2act.nn.upsampling import LayerNorm2d

MASK_SCALE, MASK_BIAS = 20.0, -10.0
CENTRED_OFFSET = 3.0  # the peak of a centred map enters the sigmoid at +3
LAYER_SCALE = 1e-6
MASK_GROWTH = 4  # channels per halving of the mask: 1, 4, 16, ...


def mask_from_heatmap(logits: Tensor, size: int, rule: str) -> Tensor:
    """The mask that the encoder reads, in [-10, 10].

    Soft-max cross-entropy leaves the level of the logits free, so the published mask is
    uncalibrated (quirk N12); `centred` measures each map against its own maximum.

    Args:
        logits: (M, 1, S, S).
        size: side of the result.
        rule: reference or centred.
    """
    logits = logits.float()
    if rule == "centred":
        logits = logits - logits.amax(dim=(2, 3), keepdim=True) + CENTRED_OFFSET
    if size != logits.shape[-1]:
        logits = F.interpolate(logits, size=(size, size), mode="bilinear")
    return MASK_SCALE * torch.sigmoid(logits) + MASK_BIAS


def sine_position(grid_size: int, width: int) -> Tensor:
    """(N, width) sine encoding of SAM 2: the first half of the channels from the row, the rest
    from the column; sines on even, cosines on odd channels."""
    half = width // 2
    place = torch.arange(1, grid_size + 1, dtype=torch.float32)
    place = place / (grid_size + 1e-6) * 2 * math.pi
    channel = torch.arange(half, dtype=torch.float32)
    angle = place[:, None] / 10000.0 ** (2 * (channel // 2) / half)
    wave = torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)
    rows = wave[:, None].expand(grid_size, grid_size, half)
    columns = wave[None].expand(grid_size, grid_size, half)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


class MaskDownSampler(nn.Module):
    """Halves the mask until it has one value per token, then projects it to the token width."""

    def __init__(self, width: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for step in range(halvings):
            channels = MASK_GROWTH**step
            layers += [
                nn.Conv2d(channels, MASK_GROWTH * channels, 3, stride=2, padding=1),
                LayerNorm2d(MASK_GROWTH * channels),
                nn.GELU(),
            ]
        layers.append(nn.Conv2d(MASK_GROWTH**halvings, width, 1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, mask: Tensor) -> Tensor:
        """(M, 1, size, size) -> (M, C, P, P)."""
        encoded: Tensor = self.encoder(mask)
        return encoded


class FuserBlock(nn.Module):
    """ConvNeXt block: depth-wise convolution, two linear layers, scaled residual."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = LayerNorm2d(width)
        self.pwconv1 = Linear(width, 4 * width)
        self.pwconv2 = Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, P, P) -> (M, C, P, P)."""
        hidden = self.norm(self.dwconv(x)).movedim(1, -1)
        hidden = self.gamma * self.pwconv2(F.gelu(self.pwconv1(hidden)))
        out: Tensor = x + hidden.movedim(-1, 1)
        return out


class Fuser(nn.Module):
    """Two blocks that start with equal weights, as copies of one (quirk N10)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserBlock(width, kernel) for _ in range(2))
        self.layers[1].load_state_dict(self.layers[0].state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, P, P) -> (M, C, P, P)."""
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Tokens plus mask -> memory."""

    position: Tensor

    def __init__(
        self, width: int, memory_width: int, *, grid_size: int, mask_size: int, kernel: int
    ) -> None:
        """`mask_size` must be a power of two times `grid_size`."""
        super().__init__()
        halvings = round(math.log2(mask_size / grid_size))
        self.mask_downsampler = MaskDownSampler(width, halvings)
        self.pix_feat_proj = nn.Conv2d(width, width, 1)
        self.fuser = Fuser(width, kernel)
        self.out_proj = nn.Conv2d(width, memory_width, 1)
        self.register_buffer("position", sine_position(grid_size, memory_width), persistent=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(M, C, P, P) tokens and (M, 1, size, size) mask -> (M, N, D) memory."""
        fused = self.fuser(self.pix_feat_proj(tokens) + self.mask_downsampler(mask))
        memory: Tensor = self.out_proj(fused).flatten(2).transpose(1, 2)
        return memory
