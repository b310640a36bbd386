"""Where the object of a reference image is in another image: feature vectors alike, and points.

Legend: h w grid of a feature map, C channels, H W pixels of an image. Points are (x, y) = (column,
row) in pixels; boxes are (x0, y0, x1, y1), the last row and column excluded. Formulas as in the
released SAM-G (arXiv 2312.17116).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.core.errors import ConfigError

UPSAMPLED = (256, 1024)  # sides that a similarity map passes on its way to the pixels of an image
Box = Sequence[int] | Tensor


def pooled_target(features: Tensor, mask: Tensor) -> Tensor:
    """What the masked vectors of a feature map have in common: mean of their maximum and mean.

    Args:
        features: (h, w, C) of the reference image.
        mask: (h, w) bool, where the object is.

    Returns:
        (C,) of length 1.

    Raises:
        ConfigError: the mask is empty on the grid of the features.
    """
    chosen = features[mask]
    if not len(chosen):
        raise ConfigError(
            "sam_g: the reference mask covers no cell of the feature map; mask a larger object, or "
            "take a larger reference image"
        )
    return F.normalize((chosen.amax(0) + chosen.mean(0)) / 2, dim=0)


def point_target(features: Tensor, point: Sequence[float], side: Sequence[int]) -> Tensor:
    """The feature vector at a point, bilinear between the four cells around it.

    Args:
        features: (h, w, C).
        point: (x, y) in pixels of the image.
        side: (H, W) of the image.

    Returns:
        (C,) of length 1.
    """
    height, width = features.shape[:2]
    x = min(max(point[0] * width / side[1], 0.0), width - 1.0)
    y = min(max(point[1] * height / side[0], 0.0), height - 1.0)
    left, top = int(x), int(y)
    right, below = min(left + 1, width - 1), min(top + 1, height - 1)
    along_x, along_y = x - left, y - top
    upper = torch.lerp(features[top, left], features[top, right], along_x)
    lower = torch.lerp(features[below, left], features[below, right], along_x)
    return F.normalize(torch.lerp(upper, lower, along_y), dim=0)


def on_grid(mask: Tensor, side: Sequence[int]) -> Tensor:
    """(h, w) bool of a mask (H, W) of values 0 to 1: bilinear, then above one half.

    An object too small for that keeps the cells of which it covers most.
    """
    grid = F.interpolate(mask.float()[None, None], tuple(side), mode="bilinear")[0, 0]
    if (grid > 0.5).any() or not (mask > 0.5).any():
        return grid > 0.5
    area = F.adaptive_avg_pool2d((mask > 0.5).float()[None], (side[0], side[1]))[0]
    return area >= area.max()


def similarity(target: Tensor, features: Tensor, side: Sequence[int]) -> Tensor:
    """Cosine of `target` with every vector of a feature map, at every pixel.

    Args:
        target: (C,) of length 1.
        features: (h, w, C) of a square image, or of one padded below or on the right to a square.
        side: (H, W) of the image.

    Returns:
        (H, W) float32 in [-1, 1].
    """
    return upsampled(F.normalize(features, dim=-1) @ target, side)


def upsampled(grid: Tensor, side: Sequence[int]) -> Tensor:
    """(H, W) values at every pixel, of values (h, w) on the grid of a feature map.

    They pass 256 and 1024 pixels, where the padding of an image that is not square is cut off.
    """
    planes = grid[None, None]
    for step in UPSAMPLED:
        planes = F.interpolate(planes, (step, step), mode="bilinear")
    longest = max(side)
    rows, columns = (round(UPSAMPLED[-1] * one / longest) for one in side)
    return F.interpolate(planes[..., :rows, :columns], tuple(side), mode="bilinear")[0, 0]


def greatest(map_: Tensor, count: int = 1) -> Tensor:
    """(count, 2) points of the largest values, the largest first."""
    index = map_.flatten().topk(count).indices
    return _points(index, map_.shape[1])


def least(map_: Tensor, box: Box | None = None) -> Tensor:
    """(1, 2) the point of the smallest value.

    Args:
        map_: (H, W).
        box: where to look; None = everywhere but in the last row and column (as published).

    Returns:
        (0, 0) where the box is empty.
    """
    if box is None:
        part, (x0, y0) = map_[:-1, :-1], (0, 0)
    else:
        x0, y0, x1, y1 = (int(value) for value in box)
        part = map_[y0:y1, x0:x1]
    if not part.numel():
        return torch.zeros(1, 2, dtype=torch.int64, device=map_.device)
    offset = torch.tensor([x0, y0], device=map_.device)
    return _points(part.flatten().argmin()[None], part.shape[1]) + offset


def _points(index: Tensor, width: int) -> Tensor:
    return torch.stack([index % width, index // width], dim=-1)
