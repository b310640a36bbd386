"""Convex upsampling: spatial tokens -> one heat map per view (paper section IV-B).

Legend: M = B * V, P tokens per side, S side of the rendered view.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sam2act.config.component import ComponentConfig
from sam2act.core.errors import require, require_choice, require_positive
from sam2act.nn import convex
from sam2act.nn.image_encoder import LEAKY_SLOPE, FeaturePyramid

RATIO = 2
TAPS = convex.TAPS
MASK_SCALE = 0.1


@dataclass(frozen=True)
class UpsamplerConfig(ComponentConfig):
    """Widths of the upsampler."""

    upsampler: str = "cascade"  # added: cascade | convex14 (one step of the size of a patch)
    upsampler_hidden_multiplier: int = 2  # added
    upsampler_channels: tuple[int, ...] = (64, 32)  # added: after the first and second doubling

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.upsampler != "bilinear",
            "upsampler: bilinear needs preprocessed images (inp_pre_pro), which networks with two "
            "stages do not have; use policy: rvt",
        )
        require_choice("upsampler", self.upsampler, ("cascade", "convex14"))
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
    """Multiplies the resolution: each output pixel is a convex combination of a 3x3 neighbourhood.

    Neighbours outside the map count as zero, which pulls borders towards zero.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        hidden_multiplier: int,
        channels_last: bool = False,
        *,
        ratio: int = RATIO,
    ) -> None:
        """`channels_last`: in C, where that works; rounds otherwise. `ratio` is the factor."""
        super().__init__()
        self.in_c = channels_last and ratio == RATIO
        self.ratio = ratio
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
            nn.Conv2d(hidden, TAPS * ratio**2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, h, w) -> (M, C', ratio * h, ratio * w)."""
        height, width = x.shape[-2:]
        # Weight channels are ordered tap, sub-row, sub-column.
        values, logits = self.values(x), self.weights(x)
        if self.in_c and convex.suits(values):
            return convex.combine(values, logits, MASK_SCALE)
        weights = (MASK_SCALE * logits).unflatten(1, (TAPS, self.ratio**2)).softmax(1)
        taps = F.unfold(values, kernel_size=3, padding=1)
        taps = rearrange(taps, "m (c k) (h w) -> m c k h w", k=TAPS, h=height)
        out = torch.einsum("mkshw,mckhw->mcshw", weights, taps)
        return rearrange(out, "m c (a b) h w -> m c (h a) (w b)", a=self.ratio, w=width)


class CascadedUpsampler(nn.Module):
    """Three convex upsamplings with skip connections from the image encoder, where it has them.

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
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.float32, memory_format=self.layout)
            x = self.join(self.first(x), pyramid.middle, self.first_norm)
            x = self.join(self.second(x), pyramid.fine, self.second_norm)
            return self.third(self.stretch(x)).squeeze(1)

    @staticmethod
    def join(x: Tensor, skip: Tensor | None, norm: nn.Module) -> Tensor:
        """Add the skip connection, if there is one, normalise, activate."""
        return F.leaky_relu(norm(x if skip is None else x + skip.float()), LEAKY_SLOPE)

    def stretch(self, x: Tensor) -> Tensor:
        """Bilinear resize by `scale`."""
        if self.scale == 1:
            return x
        return F.interpolate(x, scale_factor=self.scale, mode="bilinear")


class PatchUpsampler(nn.Module):
    """One convex step from tokens to pixels, as in RVT-2. Runs in float32 like the cascade."""

    def __init__(self, channels: int, hidden_multiplier: int, patch_size: int) -> None:
        super().__init__()
        self.step = ConvexUpsample(channels, 1, hidden_multiplier, ratio=patch_size)

    def forward(self, x: Tensor, pyramid: FeaturePyramid) -> Tensor:
        """(M, C, P, P) tokens -> (M, S, S) float32 heat-map logits; the pyramid is not used."""
        with torch.autocast(x.device.type, enabled=False):
            return self.step(x.float()).squeeze(1)
