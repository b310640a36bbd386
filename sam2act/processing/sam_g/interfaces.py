"""What SAM-G is made of: feature maps of images, and a segmenter that takes prompts.

Legend: M images of S x S pixels, h w grid of a feature map, C channels, H W pixels of a view, P
points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """What one camera sees at one moment."""

    rgb: Tensor  # (H, W, 3) uint8
    depth: Tensor | None = None  # (H, W) metres; 0 = nothing measured
    objects: Tensor | None = None  # (H, W) integers, one per object of a simulator

    @property
    def side(self) -> tuple[int, int]:
        """(H, W)."""
        return self.rgb.shape[0], self.rgb.shape[1]


class DenseFeatures(Protocol):
    """A feature map of an image, such that the same part looks alike in different images."""

    def __call__(self, rgb: Tensor) -> Tensor:
        """(M, S, S, 3) uint8 -> (M, h, h, C) float32."""
        ...


@dataclass(frozen=True)
class Prompt:
    """Which object a segmenter is to find in the view that it was given.

    Attributes:
        points: (P, 2) x and y in pixels.
        labels: (P,) 1 = on the object, 0 = beside it.
        box: (x0, y0, x1, y1) around the object; None = unknown.
        low_resolution: (1, h, w) logits of an earlier round, in the segmenter's own resolution.
        likeness: (H, W) similarity with the reference object, for segmenters without knowledge.
        share: part of the image that the reference object covers.
        description: what `describe` gave of the reference object.
    """

    points: Tensor
    labels: Tensor
    box: tuple[int, int, int, int] | None
    low_resolution: Tensor | None
    likeness: Tensor
    share: float
    description: Tensor = field(default_factory=lambda: torch.zeros(0))


class Proposals(NamedTuple):
    """The masks that a segmenter proposes, from part to whole."""

    logits: Tensor  # (3, H, W); > 0 = on the object
    scores: Tensor  # (3,) how well each of them should fit
    low_resolution: Tensor  # (3, h, w) logits for the next round


class PromptSegmenter(Protocol):
    """Finds masks from points, boxes and earlier masks."""

    def look(self, view: View) -> None:
        """Take the view to which the next prompts belong."""
        ...

    def propose(self, prompt: Prompt) -> Proposals:
        """Three masks of the object of `prompt`."""
        ...

    def describe(self, view: View, mask: Tensor) -> Tensor:
        """(N,) numbers to remember of the reference object; none where the segmenter needs none.

        Args:
            view: of the reference.
            mask: (H, W) bool, the object.
        """
        ...
