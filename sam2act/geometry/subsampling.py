"""Random subsets of a point cloud, as a pure function of a seed per sample."""

from __future__ import annotations

import torch
from torch import Tensor

_HASH_MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
_WORD = 0xFFFFFFFF


def stratified_subset(valid: Tensor, count: int, seeds: Tensor) -> Tensor:
    """Indices of `count` valid points per sample, one drawn from each of `count` equal strata.

    The valid points, in their order, are cut into `count` runs of equal length and one point is
    drawn from each, so that order (hence the renderer's tie rule) and even coverage of the images
    are kept. With fewer valid points than `count`, points repeat.

    Args:
        valid: (B, N) bool.
        count: points to draw.
        seeds: (B,) int64; equal seeds give equal draws, whatever the rest of the batch.

    Returns:
        (B, count) int64; index N - 1 at most, also where nothing is valid.
    """
    rank = valid.cumsum(dim=1)
    total = rank[:, -1:]
    stratum = torch.arange(count, device=valid.device)
    position = (stratum + _uniform(stratum, seeds)) / count
    wanted = (position * total).long().clamp(max=valid.shape[1] - 1)
    wanted = torch.minimum(wanted, (total - 1).clamp(min=0)) + 1
    return torch.searchsorted(rank, wanted).clamp(max=valid.shape[1] - 1)


def _uniform(counter: Tensor, seeds: Tensor) -> Tensor:
    """Hash (counter, seed) to float64 in [0, 1): (B, count). 32-bit integer mixing."""
    x = (counter[None] + seeds[:, None] * 0x9E3779B1) & _WORD
    for multiplier in _HASH_MULTIPLIERS:
        x = ((x ^ (x >> 16)) * multiplier) & _WORD
    x = x ^ (x >> 16)
    return x.double() / (_WORD + 1)
