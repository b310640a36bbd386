"""A transform that changes the colours of camera images in training.

The operations are TensorFlow's, as the data loaders of Octo and OpenVLA use them; the factors of
`processing/color_jitter.py` are torchvision's.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from torch import Tensor

from sam2act.core.errors import require
from sam2act.core.specs import PolicySpec
from sam2act.core.types import Batch, KeyframeBatch, Observation
from sam2act.processing.images import on_images, uniform
from sam2act.processing.transforms import Transform

Images = TypeVar("Images", Observation, KeyframeBatch)


class JitterColours(Transform):
    """Random brightness, contrast, saturation and hue; all cameras and frames of a sample alike.

    While acting it changes nothing.
    """

    name = "jitter_colours"

    def __init__(
        self,
        spec: PolicySpec,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.05,
    ) -> None:
        """Ranges; the defaults are those of CogACT's training.

        Args:
            spec: of the policy behind.
            brightness: largest value that is added, white being 1.
            contrast: largest relative change of the distance from the mean colour.
            saturation: largest relative change.
            hue: largest turn of the colour circle.

        Raises:
            ConfigError: one is no number from 0 to 1 (hue: 0.5).
        """
        self.ranges = torch.tensor([0.0] * 4)
        limits = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5}
        for place, (value, (name, most)) in enumerate(
            zip((brightness, contrast, saturation, hue), limits.items(), strict=True)
        ):
            good = isinstance(value, (int, float)) and 0 <= value <= most
            require(good, f"transforms: {self.name}: {name}={value!r} must be from 0 to {most}")
            self.ranges[place] = value

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """With colours that depend on the seed of a sample."""
        if seeds is None:
            return batch
        changes = (2 * uniform(seeds, self.name, 4) - 1) * self.ranges

        def changed(data: Images) -> Images:
            return dataclasses.replace(data, rgb=with_changed_colours(data.rgb, changes))

        return on_images(batch, changed, changed)


def with_changed_colours(rgb: Tensor, changes: Tensor) -> Tensor:
    """Images of B samples with other colours.

    Args:
        rgb: (B, ..., H, W, 3) uint8.
        changes: (B, 4) what is added to the colours (white is 1), relative change of the contrast
            about the mean of each image and channel, of the saturation, and turn of the hue
            (1 = once around).

    Returns:
        (B, ..., H, W, 3) uint8.
    """
    columns = changes.to(rgb.device).view(len(rgb), 4, *(1,) * (rgb.dim() - 1)).unbind(1)
    brightness, contrast, saturation, hue = columns
    values = (rgb.float() / 255 + brightness).clamp(0, 1)
    mean = values.mean((-3, -2), keepdim=True)
    values = (mean + (values - mean) * (1 + contrast)).clamp(0, 1)
    turned = _with_changed_hue(values, 1 + saturation[..., 0], hue[..., 0])
    return (turned * 255).round().to(torch.uint8)


def _with_changed_hue(rgb: Tensor, factor: Tensor, turn: Tensor) -> Tensor:
    """(..., 3) in [0, 1] with the saturation times `factor` and the hue turned by `turn`."""
    value, place = rgb.max(-1)
    spread = value - rgb.amin(-1)
    red, green, blue = rgb.unbind(-1)
    divisor = spread.clamp(min=torch.finfo(spread.dtype).tiny)
    sixths = torch.stack([green - blue, blue - red, red - green], -1) / divisor[..., None]
    sixths = sixths + sixths.new_tensor([0.0, 2.0, 4.0])
    hue = sixths.gather(-1, place[..., None])[..., 0] + 6 * turn  # in sixths of the circle
    saturation = spread / value.clamp(min=torch.finfo(value.dtype).tiny)
    chroma = value * (saturation * factor).clamp(0, 1)
    offsets = (hue[..., None] + hue.new_tensor([5.0, 3.0, 1.0])) % 6
    shares = torch.minimum(offsets, 4 - offsets).clamp(0, 1)
    return value[..., None] - chroma[..., None] * shares
