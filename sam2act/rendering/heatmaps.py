"""Two-dimensional helpers between points on a view and its heat map.

Here, unlike in rendering, the integer i is the centre of pixel i (quirk R8 of the renderer: the
two conventions meet only at inference, where they cancel). Points are (column, row) in pixels.
M map, P point, C channel, H W map size.
"""

from __future__ import annotations

import torch
from torch import Tensor

DISTANCE_FLOOR = 1e-10  # keeps the weight of a point on a pixel finite
SUM_FLOOR = 1e-6  # keeps the heat map of a distant point at zero
SUPPORT_SIGMAS = 3


def sample_inverse_distance(points: Tensor, maps: Tensor, weight: Tensor | None = None) -> Tensor:
    """Values of maps at continuous points: mean of the four corners by inverse distance.

    A point outside [0, W-1] x [0, H-1] gives 0, a point on a pixel that pixel, a non-finite point
    NaN. This is not bilinear interpolation.

    Args:
        points: (M, P, 2) pixels.
        maps: (M, C, H, W).
        weight: (M, P) factor per point that survives only as zero or non-zero, because the
            corner weights are normalised; None = 1. It is not modified.

    Returns:
        (M, P, C) float32, differentiable with respect to `maps`.
    """
    index, corner_weight = corners(points, maps.shape[-2], maps.shape[-1], weight)
    channels, amount = maps.shape[1], points.shape[1]
    picks = index.flatten(1)[:, None].expand(-1, channels, -1)
    values: Tensor = maps.flatten(2).gather(2, picks).unflatten(2, (amount, 4))
    return (values * corner_weight[:, None]).sum(dim=-1).transpose(1, 2)


def corners(
    points: Tensor, height: int, width: int, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Flat indices `row * W + column` and weights (..., 4) of the corners of points (..., 2).

    Order: (floor, floor), (floor, ceil), (ceil, floor), (ceil, ceil) of (column, row). Columns
    and rows beyond the map wrap around, negative ones become 0, and the distance is measured to
    where the corner then is.
    """
    u, v = points.to(torch.float32).unbind(-1)
    outside = (u < 0) | (v < 0) | (u > width - 1) | (v > height - 1)
    factor = torch.ones_like(u) if weight is None else weight.to(torch.float32)
    factor = factor.masked_fill(outside, 0).masked_fill(~(u + v).isfinite(), float("nan"))
    left, right, above, below = u.floor(), u.ceil(), v.floor(), v.ceil()
    column = _wrapped(torch.stack([left, left, right, right], dim=-1), width)
    row = _wrapped(torch.stack([above, below, above, below], dim=-1), height)
    distance = torch.sqrt((u[..., None] - column) ** 2 + (v[..., None] - row) ** 2)
    share = factor[..., None] / (distance + DISTANCE_FLOOR)
    total = share.sum(dim=-1, keepdim=True)
    return row * width + column, share / torch.where(total == 0, 1, total)


def gaussian_heatmaps(points: Tensor, size: int | tuple[int, int], sigma: float) -> Tensor:
    """Target heat maps: a Gaussian around each point, cut off at three sigma, with sum 1.

    A point farther than three sigma outside gives an all-zero map, a point near the border a
    truncated map that sums to 1.

    Args:
        points: (..., 2) pixels, (column, row).
        size: side S, or (H, W).
        sigma: standard deviation in pixels; -1 puts 1 at the pixel where a unit-sigma map is
            largest (lowest flat index on ties) and 0 elsewhere.

    Returns:
        (..., H, W) float32.
    """
    height, width = (size, size) if isinstance(size, int) else size
    points = points.to(torch.float32)
    column = torch.arange(width, device=points.device, dtype=torch.float32)
    row = torch.arange(height, device=points.device, dtype=torch.float32)
    across = (column - points[..., 0:1]) ** 2
    down = (row - points[..., 1:2]) ** 2
    heat = torch.exp(-(across[..., None, :] + down[..., :, None]) / (2 * sigma**2))
    cut = torch.exp(torch.full((), -(SUPPORT_SIGMAS**2) / 2, device=points.device))
    heat = heat.masked_fill(heat < cut, 0)
    heat = heat / (heat.sum(dim=(-2, -1), keepdim=True) + SUM_FLOOR)
    if sigma != -1:
        return heat
    flat = heat.flatten(-2)
    peak = flat.argmax(dim=-1, keepdim=True)
    single: Tensor = torch.zeros_like(flat).scatter(-1, peak, 1.0).unflatten(-1, (height, width))
    return single


def _wrapped(coordinate: Tensor, count: int) -> Tensor:
    """Whole float coordinates as indices: remainder of the division, negatives become 0."""
    index = coordinate.nan_to_num(0, 0, 0).to(torch.int64)
    return torch.fmod(index, count).clamp(min=0)
