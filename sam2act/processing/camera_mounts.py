"""Transforms for how cameras are mounted: pictures upside down, mirrors in the picture.

They change colours alone. Legend: H W image size.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import torch
from torch import Tensor

from sam2act.core.specs import PolicySpec
from sam2act.core.types import Batch, ContractError, KeyframeBatch, Observation
from sam2act.processing.images import on_images
from sam2act.processing.transforms import Transform

# UMI's left mirror in a picture of its camera, pixels (x, y); the right one lies opposite.
MIRROR = ((540, 1700), (680, 1450), (590, 1070), (290, 1130), (290, 1770), (550, 1770))
PICTURE = (2704, 2028)  # width, height of that picture


class _OfColours(Transform):
    """Changes the colours of every picture, in training and while acting."""

    name = ""

    def __init__(self, spec: PolicySpec) -> None:
        """There is nothing to choose."""

    def observation(self, observation: Observation) -> Observation:
        """With changed colours.

        Raises:
            ContractError: there is depth, which this transform does not change.
        """
        if observation.depth is not None or observation.others:
            raise ContractError(f"{self.name}: changes colours of one camera size, without depth")
        return dataclasses.replace(observation, rgb=self._changed(observation.rgb))

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """With changed colours."""
        return on_images(batch, self.observation, self._keyframes)

    def _keyframes(self, batch: KeyframeBatch) -> KeyframeBatch:
        raise ContractError(f"{self.name}: is for policies that learn windows of frames")

    def _changed(self, rgb: Tensor) -> Tensor:
        """(..., H, W, 3) uint8."""
        raise NotImplementedError


class FlipRows(_OfColours):
    """Turns pictures whose rows count from below, as those of LIBERO and its simulator do."""

    name = "flip_rows"

    def _changed(self, rgb: Tensor) -> Tensor:
        return rgb.flip(-3)


class MaskMirror(_OfColours):
    """Blackens both mirrors beside UMI's gripper, in square pictures from its middle."""

    name = "mask_mirror"

    def _changed(self, rgb: Tensor) -> Tensor:
        hidden = mirrors(*rgb.shape[-3:-1]).to(rgb.device)
        return rgb.masked_fill(hidden[..., None], 0)


@cache
def mirrors(height: int, width: int) -> Tensor:
    """(H, W) bool: pixels whose middle lies in one of UMI's mirrors.

    Places are counted from the middle of a picture in units of its height, as UMI does.
    """
    wide, high = PICTURE
    corners = torch.tensor(MIRROR, dtype=torch.float64)
    corners = (corners - torch.tensor([wide / 2, high / 2])) / high
    rows = ((torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5)[:, None]
    columns = ((torch.arange(width, dtype=torch.float64) + 0.5 - width / 2) / height)[None]
    # Left of the middle as it is; the right mirror is that of the opposite place.
    return _inside(-columns.abs(), rows, corners)


def _inside(x: Tensor, y: Tensor, corners: Tensor) -> Tensor:
    """Whether points lie in a polygon: rays to the right cross its edges an odd number of times."""
    crossings = torch.zeros_like(x + y, dtype=torch.int64)
    for (x0, y0), (x1, y1) in zip(corners, corners.roll(-1, 0), strict=True):
        between = (y0 > y) != (y1 > y)
        height = torch.where(y1 == y0, torch.ones_like(y1), y1 - y0)
        crossings += between & (x < x0 + (y - y0) / height * (x1 - x0))
    return crossings % 2 == 1
