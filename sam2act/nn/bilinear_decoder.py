"""Decoder of RVT: spatial tokens -> maps of features and heat maps by bilinear upsampling.

Legend: M = B * V, P tokens per side, S = P * patch side of a rendered view, C token width, H steps
of a sequence (1 for a single keyframe), F channels of a feature map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sam2act.nn.image_encoder import LEAKY_SLOPE

JOIN_KERNEL = 3


class DecodedMaps(NamedTuple):
    """What the decoder makes of the tokens of every view."""

    features: Tensor  # (M, H, F, S, S)
    heatmaps: Tensor  # (M, H, S, S) logits


def replicating_convolution(channels: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size; pixels at the border are repeated beyond it."""
    convolution = nn.Conv2d(
        channels, outputs, kernel, padding=kernel // 2, padding_mode="replicate"
    )
    nn.init.kaiming_uniform_(convolution.weight, a=LEAKY_SLOPE, nonlinearity="leaky_relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


class BilinearDecoder(nn.Module):
    """Convolution, bilinear upsampling by the patch size, convolution, and a join with a skip.

    One convolution makes a heat map of the features of each step; it is the same for all steps.
    """

    def __init__(  # noqa: PLR0913 (independent sizes)
        self,
        channels: int,
        hidden: int,
        skip_channels: int,
        feature_channels: int,
        *,
        patch: int,
        kernel: int,
        steps: int = 1,
    ) -> None:
        """Build with random weights.

        Args:
            channels: C.
            hidden: channels at full resolution, before the join.
            skip_channels: of the maps at full resolution that join.
            feature_channels: F.
            patch: pixels per token.
            kernel: odd side of the convolutions before and after the upsampling.
            steps: H.
        """
        super().__init__()
        self.steps = steps
        self.before = replicating_convolution(channels, hidden, kernel)
        self.upsample = nn.Upsample(scale_factor=patch, mode="bilinear", align_corners=False)
        self.after = replicating_convolution(hidden, hidden, kernel)
        joined = hidden + skip_channels
        self.join = replicating_convolution(joined, steps * feature_channels, JOIN_KERNEL)
        self.to_heatmap = nn.Conv2d(
            feature_channels, 1, JOIN_KERNEL, padding=JOIN_KERNEL // 2, padding_mode="replicate"
        )
        self.activation = nn.LeakyReLU(LEAKY_SLOPE)

    def forward(self, tokens: Tensor, skip: Tensor) -> DecodedMaps:
        """(M, C, P, P) tokens and (M, C', S, S) maps -> features and heat maps of every step."""
        x = self.upsample(self.activation(self.before(tokens)))
        x = self.activation(self.after(x))
        joined = self.activation(self.join(torch.cat([x, skip], dim=1)))
        features = joined.unflatten(1, (self.steps, -1))
        heatmaps = self.to_heatmap(features.flatten(0, 1)).squeeze(1)
        return DecodedMaps(features, heatmaps.unflatten(0, (-1, self.steps)))
