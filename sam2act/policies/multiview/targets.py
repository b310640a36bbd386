"""What the network should predict: heat maps and rotation bins of the target pose.

Legend: B batch, V view, S side of a rendered view.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.geometry.augmentation import AugmentationNoise
from sam2act.rendering.heatmaps import gaussian_heatmaps
from sam2act.rendering.views import View, project, project_half

BIN_JITTER = (-2, 2)  # lower bound inclusive, upper exclusive: asymmetric, as published


@dataclass(frozen=True)
class TrainingNoise:
    """All random numbers of one training step, one row per sample of the global batch."""

    augmentation: AugmentationNoise
    color: Tensor  # (B, 4) uniform in [-1, 1]
    zoom: Tensor  # (B, 3) uniform in [-1, 1]
    bin_jitter: Tensor  # (B, 2) int64
    subset_seed: Tensor  # (B,) int64

    @classmethod
    def sample(cls, batch: int, generator: torch.Generator) -> TrainingNoise:
        """Draw for `batch` samples on the generator's device."""
        return cls(
            augmentation=AugmentationNoise.sample(batch, generator),
            color=2 * torch.rand(batch, 4, generator=generator) - 1,
            zoom=2 * torch.rand(batch, 3, generator=generator) - 1,
            bin_jitter=torch.randint(*BIN_JITTER, (batch, 2), generator=generator),
            subset_seed=torch.randint(2**31, (batch,), generator=generator),
        )

    def select(self, part: slice | Tensor) -> TrainingNoise:
        """The draws of some samples, for example those of one rank."""
        return TrainingNoise(
            AugmentationNoise(
                self.augmentation.translation[part], self.augmentation.rotation[part]
            ),
            self.color[part],
            self.zoom[part],
            self.bin_jitter[part],
            self.subset_seed[part],
        )

    def with_subset_seed(self, seed: Tensor) -> TrainingNoise:
        """The draws with other seeds (B,) for the subset of points."""
        return dataclasses.replace(self, subset_seed=seed)

    def to(self, device: torch.device | str) -> TrainingNoise:
        """The same draws on `device`; colour factors stay, since they are needed as numbers."""
        return TrainingNoise(
            self.augmentation.to(device),
            self.color,
            self.zoom.to(device, non_blocking=True),
            self.bin_jitter.to(device, non_blocking=True),
            self.subset_seed.to(device, non_blocking=True),
        )


def position_heatmaps(
    position: Tensor,
    views: Sequence[View],
    size: int,
    sigma: float,
    *,
    half_projection: bool,
    shift: float = 0.0,
) -> Tensor:
    """Target distribution of a position in every view.

    Args:
        position: (B, 3) in the cube that is rendered.
        views: the V views.
        size: S.
        sigma: standard deviation in pixels.
        half_projection: round pixels as half-precision autocast does (renderer quirk R9).
        shift: pixels that are taken off (renderer quirk R12).

    Returns:
        (B, V, S, S), each map sums to about 1, or to 0 if the position is outside the view.
    """
    pixels = (project_half if half_projection else project)(position, views, size)
    return gaussian_heatmaps(pixels - shift, size, sigma)
