"""What a backend of the renderer is asked to draw.

B batch, V view, N point, C feature channel, S image side in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.rendering.views import View


@dataclass(frozen=True)
class Clouds:
    """A batch of point clouds in the cube frame.

    points: (B, N, 3) float32; points with a non-finite coordinate do not exist.
    features: (B, N, C) float32.
    valid: (B, N) bool, the points that exist; None = all.
    divisor: (B,) float32, makes the first three channels of an image `points / divisor`; None: an
        image has no such channels.
    """

    points: Tensor
    features: Tensor
    valid: Tensor | None = None
    divisor: Tensor | None = None

    @property
    def channels(self) -> int:
        """Channels of an image: positions if wanted, features, depth."""
        return self.features.shape[2] + (1 if self.divisor is None else 4)

    def drawn_features(self) -> Tensor:
        """(B, N, channels but depth): positions if wanted, and features."""
        if self.divisor is None:
            return self.features
        return torch.cat([self.points / self.divisor[:, None, None], self.features], dim=-1)

    def contiguous(self) -> Clouds:
        """The same clouds without gaps in memory."""
        tensors = {name: part for name, part in vars(self).items() if part is not None}
        return Clouds(**{name: part.contiguous() for name, part in tensors.items()})


@dataclass(frozen=True)
class Screen:
    """V views of S x S pixels, in which points have a radius in cube units."""

    views: tuple[View, ...]
    size: int
    radius: float
