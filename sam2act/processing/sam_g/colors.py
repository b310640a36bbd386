"""CIE L*a*b* colours, and features that are nothing but colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 64  # cells per side
# sRGB (IEC 61966-2-1) to XYZ, divided by the white point D65.
_TO_XYZ = torch.tensor(
    [
        [0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505],
        [0.2126, 0.7152, 0.0722],
        [0.0193 / 1.089, 0.1192 / 1.089, 0.9505 / 1.089],
    ]
)
_EDGE = 6 / 29


def lab_of(rgb: Tensor) -> Tensor:
    """(..., 3) float32 L*, a*, b* of sRGB colours (..., 3) uint8."""
    colors = rgb.float() / 255
    linear = torch.where(colors > 0.04045, ((colors + 0.055) / 1.055) ** 2.4, colors / 12.92)
    xyz = linear @ _TO_XYZ.to(rgb.device).T
    roots = torch.where(
        xyz > _EDGE**3, xyz.clamp_min(1e-9) ** (1 / 3), xyz / (3 * _EDGE**2) + 4 / 29
    )
    x, y, z = roots.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


class ColorFeatures:
    """The mean colour of every cell: what correspondence reaches without a network."""

    def __call__(self, rgb: Tensor) -> Tensor:
        """(M, S, S, 3) uint8 -> (M, 64, 64, 3)."""
        lab = lab_of(rgb).permute(0, 3, 1, 2)
        return F.adaptive_avg_pool2d(lab, GRID).permute(0, 2, 3, 1)
