"""Square pictures of one size in plain episodes of others; camera matrices follow."""

from __future__ import annotations

import dataclasses

import numpy as np

from sam2act.data.exchange import IMAGE_KINDS, INTRINSICS, PlainEpisode
from sam2act.data.rlbench.demo_crops import Grid, centred_grid


def cropped(episode: PlainEpisode, size: int) -> PlainEpisode:
    """`episode` with `size` pixels per side of every picture, of whatever size and aspect before.

    A picture is cropped about its centre and every k-th pixel is kept; nothing is interpolated, so
    each kept pixel still gives the point that it gave before (`rlbench/demo_crops.py`).

    Raises:
        DemoError: a picture is smaller.
    """
    grids = {n: centred_grid(width, height, size) for n, (height, width) in episode.images.items()}
    numbers = dict(episode.numbers)
    for name, grid in grids.items():
        matrices = _camera(name) + INTRINSICS
        if name.endswith(IMAGE_KINDS[0]) and matrices in numbers:
            numbers[matrices] = np.stack([grid.intrinsics(m) for m in episode.numbers[matrices]])
    return dataclasses.replace(
        episode,
        numbers=numbers,
        images=dict.fromkeys(grids, (size, size)),
        image=lambda name, frame: _pixels(grids[name], episode.image(name, frame)),
    )


def square_view(
    rgb: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for one camera while acting.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres.
        intrinsics: (3, 3) in pixels of these.
        size: S.

    Returns:
        (S, S, 3), (S, S) and (3, 3).

    Raises:
        DemoError: the picture is smaller.
    """
    grid = centred_grid(rgb.shape[1], rgb.shape[0], size)
    return grid.pixels(rgb), grid.pixels(depth), grid.intrinsics(intrinsics)


def _pixels(grid: Grid, pixels: np.ndarray) -> np.ndarray:
    return grid.pixels(pixels)


def _camera(name: str) -> str:
    return next(name.removesuffix(kind) for kind in IMAGE_KINDS if name.endswith(kind))
