"""Changes of training images: the random shift of DrQ, the random overlay of SVEA.

Legend: B samples, C colours times frames, S pixels per side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOTCHES = 6  # per side of a picture made of colours alone


def random_shift(pixels: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Images moved by whole pixels, at most `most` along each axis; borders are repeated.

    Args:
        pixels: (B, C, S, S).
        most: pixels.
        generator: of random numbers, on the CPU.
    """
    if not most:
        return pixels.float()
    side = pixels.shape[-1]
    corner = torch.randint(2 * most + 1, (len(pixels), 2), generator=generator)
    places = torch.arange(side) - most
    rows = (corner[:, :1] + places).clamp(0, side - 1).to(pixels.device)
    columns = (corner[:, 1:] + places).clamp(0, side - 1).to(pixels.device)
    sample = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    moved = pixels.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None]]
    return moved.permute(0, 3, 1, 2).float()  # bytes are moved, a quarter of the memory


def random_overlay(
    pixels: Tensor, share: float, generator: torch.Generator, pictures: Tensor | None = None
) -> Tensor:
    """Images mixed with other pictures, the same one over all frames of a sample.

    Args:
        pixels: (B, C, S, S) in 0 to 255.
        share: of the other picture.
        generator: of random numbers, on the CPU.
        pictures: (N, 3, S, S) to choose from; None = smooth random colours.
    """
    count, channels, side = len(pixels), pixels.shape[1], pixels.shape[-1]
    if pictures is None:
        blotches = 255 * torch.rand(count, 3, BLOTCHES, BLOTCHES, generator=generator)
        chosen = F.interpolate(blotches, (side, side), mode="bicubic").clamp(0, 255)
    else:
        chosen = pictures[torch.randint(len(pictures), (count,), generator=generator)].float()
    others = chosen.repeat(1, channels // 3, 1, 1).to(pixels.device)
    return (1 - share) * pixels + share * others
