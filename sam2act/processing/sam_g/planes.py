"""Heights over the plane that fills most of a depth image, such as a table.

The inverse depth of a plane is an affine function of the pixel, whatever the camera's matrix, so no
calibration is needed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

TRIES, SAMPLES = 100, 2000
INLIER = 0.004  # relative deviation of inverse depth within which a pixel belongs to a plane
LARGEST = 0.25  # relative heights are cut there


def relative_heights(depth: Tensor) -> Tensor:
    """How much nearer every pixel is than the largest plane, relative to the plane's distance.

    Args:
        depth: (H, W) metres; 0 = nothing measured.

    Returns:
        (H, W) float32 within +-0.25; 0 on the plane and where nothing was measured.
    """
    values = depth.double().numpy()
    known = values > 0
    if known.sum() < 3:
        return torch.zeros(depth.shape)
    inverse = np.where(known, 1 / np.where(known, values, 1), 0)
    rows, columns = np.nonzero(known)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)
    plane = _largest_plane(pixels, inverse[known])
    expected = pixels @ plane
    heights = np.zeros(values.shape, np.float32)
    heights[known] = np.clip(inverse[known] / np.maximum(expected, 1e-6) - 1, -LARGEST, LARGEST)
    return torch.from_numpy(heights)


def _largest_plane(pixels: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """(3,) coefficients with inverse depth = pixels @ coefficients, by random samples of three."""
    random = np.random.default_rng(0)
    part = random.choice(len(pixels), min(SAMPLES, len(pixels)), replace=False)
    points, values = pixels[part], inverse[part]
    best, most = np.array([0.0, 0.0, float(np.median(values))]), -1
    for three in random.integers(len(points), size=(TRIES, 3)):
        corners = points[three]
        if abs(np.linalg.det(corners)) < 1e-6:
            continue
        plane = np.linalg.solve(corners, values[three])
        count = int(_on_plane(points, values, plane).sum())
        if count > most:
            best, most = plane, count
    inside = _on_plane(points, values, best)
    return best if inside.sum() < 3 else np.linalg.lstsq(points[inside], values[inside])[0]


def _on_plane(pixels: np.ndarray, inverse: np.ndarray, plane: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.abs(pixels @ plane - inverse) < INLIER * inverse
    return result
