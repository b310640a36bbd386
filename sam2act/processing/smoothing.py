"""A transform that smooths the chunks of a policy."""

from __future__ import annotations

import dataclasses

from sam2act.core.described import whole_number
from sam2act.core.errors import require
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk
from sam2act.processing.blending import smoothed
from sam2act.processing.transforms import Transform


class SmoothActions(Transform):
    """A centred moving average over the actions of a chunk, while acting; not of labels."""

    def __init__(self, spec: PolicySpec, width: int) -> None:
        """Average over `width` neighbours (odd); the ends of a chunk are repeated.

        Raises:
            ConfigError: no odd whole number.
        """
        owner = "transforms: smooth_actions"
        self.width = whole_number(owner, "width", width)
        require(self.width % 2 == 1, f"{owner}: width={width} must be odd")

    def action(self, chunk: ActionChunk) -> ActionChunk:
        """The smoothed chunk."""
        return dataclasses.replace(chunk, values=smoothed(chunk.values, self.width, chunk.space))
