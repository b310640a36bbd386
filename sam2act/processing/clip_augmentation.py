"""Random crops and blur of clips: the same for all frames and cameras of a sample, in training.

Legend: B samples, T frames (may be absent), K cameras, H W image size.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.core.errors import require
from sam2act.core.specs import PolicySpec
from sam2act.core.types import Batch, ContractError, WindowBatch
from sam2act.processing.transforms import Transform

BLUR = (0.1, 2.0)  # pixels, least and greatest standard deviation
TAPS = 5  # numbers of the kernel of the blur


class AugmentClip(Transform):
    """Crops a share of the pictures and scales it back, and blurs, each with a probability."""

    def __init__(
        self, spec: PolicySpec, share: float = 0.95, crop: float = 0.5, blur: float = 0.5
    ) -> None:
        """Crop to `share` of each side with probability `crop`, and blur with probability `blur`.

        Raises:
            ConfigError: a number is impossible.
        """
        require(0 < share <= 1, "transforms: augment_clip: share must be above 0 and at most 1")
        for name, value in (("crop", crop), ("blur", blur)):
            require(0 <= value <= 1, f"transforms: augment_clip: {name} must be from 0 to 1")
        self.share, self.crop, self.blur = share, crop, blur

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """With changed colours; nothing changes without seeds."""
        if not isinstance(batch, WindowBatch):
            raise ContractError("augment_clip: is for policies that learn windows of frames")
        if batch.observed.depth is not None or batch.observed.others:
            raise ContractError("augment_clip: changes colours of one camera size, without depth")
        if seeds is None:
            return batch
        clips = [
            self._changed(clip, torch.Generator().manual_seed(seed))
            for clip, seed in zip(batch.observed.rgb, seeds.tolist(), strict=True)
        ]
        observed = dataclasses.replace(batch.observed, rgb=torch.stack(clips))
        return dataclasses.replace(batch, observed=observed)

    def _changed(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """(..., H, W, 3) uint8 of one sample."""
        chances = torch.rand(5, generator=generator).tolist()
        cropped, blurred = chances[0] < self.crop, chances[1] < self.blur
        if not (cropped or blurred):
            return clip
        pictures = clip.reshape(-1, *clip.shape[-3:]).movedim(-1, 1).float()
        height, width = pictures.shape[-2:]
        if cropped:
            rows, columns = (max(round(side * self.share), 1) for side in (height, width))
            top = int(chances[2] * (height - rows + 1))
            left = int(chances[3] * (width - columns + 1))
            part = pictures[..., top : top + rows, left : left + columns]
            pictures = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)
        if blurred:
            pictures = _blurred(pictures, BLUR[0] + (BLUR[1] - BLUR[0]) * chances[4])
        values = pictures.round().clamp(0, 255).to(torch.uint8)
        return values.movedim(1, -1).reshape(clip.shape)


def _blurred(pictures: Tensor, deviation: float) -> Tensor:
    """(M, 3, H, W) under a Gaussian of `deviation` pixels; the edges are mirrored."""
    reach = TAPS // 2
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = (-0.5 * (places / deviation).square()).exp()
    kernel = (weights / weights.sum()).expand(3, 1, TAPS)
    padded = F.pad(pictures, (reach,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel[..., None], groups=3)
    return F.conv2d(rows, kernel[:, :, None], groups=3)
