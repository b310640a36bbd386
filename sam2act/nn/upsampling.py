"""Cascaded convex upsampling: spatial tokens -> one heat map per view (paper section IV-B).

Legend: M = B * V, P tokens per side, S side of the rendered view.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require, require_positive
from sam2act.nn import convex
from sam2act.nn.image_encoder import LEAKY_SLOPE, FeaturePyramid

RATIO = 2
TAPS = convex.TAPS
MASK_SCALE = 0.1


@dataclass(frozen=True)
class UpsamplerConfig(ComponentConfig):
    """Widths of the upsampler."""

    upsampler_hidden_multiplier: int = 2  # added
    upsampler_channels: tuple[int, ...] = (64, 32)  # added: after the first and second doubling

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "upsampler_hidden_multiplier")
        require(len(self.upsampler_channels) == 2, "upsampler_channels needs two values")

    def check_skip_widths(self, channels: tuple[int, ...]) -> None:
        """Make sure that levels of these widths, finest first, can be added as skip connections.

        Raises:
            ConfigError: they cannot.
        """
        expected = (channels[1], channels[0])
        require(
            self.upsampler_channels == expected,
            f"upsampler_channels {list(self.upsampler_channels)} must equal the widths of the "
            f"encoder's skip connections, {list(expected)}",
        )


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, h, w) -> (M, C, h, w)."""
        x = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, eps=1e-6)
        return x.movedim(-1, 1)


class ConvexUpsample(nn.Module):
    """Doubles the resolution: each output pixel is a convex combination of a 3x3 neighbourhood.

    Neighbours outside the map count as zero, which pulls borders towards zero.
    """

    def __init__(
        self, channels: int, out_channels: int, hidden_multiplier: int, channels_last: bool = False
    ) -> None:
        """`channels_last`: in C, where that works; rounds otherwise."""
        super().__init__()
        self.channels_last = channels_last
        hidden = hidden_multiplier * channels
        self.values = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, out_channels, 3, padding=1),
        )
        self.weights = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, TAPS * RATIO * RATIO, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, h, w) -> (M, C', 2h, 2w)."""
        height, width = x.shape[-2:]
        # Weight channels are ordered tap, sub-row, sub-column.
        values, logits = self.values(x), self.weights(x)
        if self.channels_last and convex.suits(values):
            return convex.combine(values, logits, MASK_SCALE)
        weights = (MASK_SCALE * logits).unflatten(1, (TAPS, RATIO * RATIO)).softmax(1)
        taps = F.unfold(values, kernel_size=3, padding=1)
        taps = rearrange(taps, "m (c k) (h w) -> m c k h w", k=TAPS, h=height)
        out = torch.einsum("mkshw,mckhw->mcshw", weights, taps)
        return rearrange(out, "m c (a b) h w -> m c (h a) (w b)", a=RATIO, b=RATIO, w=width)


class CascadedUpsampler(nn.Module):
    """Three convex upsamplings with skip connections from the image encoder.

    Beyond the paper's formula, each norm is followed by a LeakyReLU and a bilinear step closes the
    gap between 4P and S/2 (quirk N6). Runs in float32 whatever the ambient autocast.
    """

    def __init__(
        self,
        channels: int,
        skip_channels: tuple[int, int],
        hidden_multiplier: int,
        scale: float,
        *,
        channels_last: bool = False,
    ) -> None:
        """`skip_channels` are the widths after the first and second doubling; `scale` is the
        bilinear factor (S/2) / (4P); `channels_last` is how maps lie in memory."""
        super().__init__()
        middle, fine = skip_channels
        self.layout = torch.channels_last if channels_last else torch.preserve_format

        def doubling(width: int, out: int) -> ConvexUpsample:
            return ConvexUpsample(width, out, hidden_multiplier, channels_last)

        self.first = doubling(channels, middle)
        self.first_norm = LayerNorm2d(middle)
        self.second = doubling(middle, fine)
        self.second_norm = LayerNorm2d(fine)
        self.third = doubling(fine, 1)
        self.scale = scale

    def forward(self, x: Tensor, pyramid: FeaturePyramid) -> Tensor:
        """(M, C, P, P) tokens -> (M, S, S) float32 heat-map logits."""
        assert pyramid.fine is not None and pyramid.middle is not None, "no levels to skip to"
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.float32, memory_format=self.layout)
            x = self.join(self.first(x), pyramid.middle.float(), self.first_norm)
            x = self.join(self.second(x), pyramid.fine.float(), self.second_norm)
            return self.third(self.stretch(x)).squeeze(1)

    @staticmethod
    def join(x: Tensor, skip: Tensor, norm: nn.Module) -> Tensor:
        """Add the skip connection, normalise, activate."""
        return F.leaky_relu(norm(x + skip), LEAKY_SLOPE)

    def stretch(self, x: Tensor) -> Tensor:
        """Bilinear resize by `scale`."""
        if self.scale == 1:
            return x
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear")
