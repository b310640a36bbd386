"""Square images of one size out of those of other sizes, without interpolation.

An image is cropped about its centre and every `step`-th pixel of it is kept, as many as fit. The
camera matrices follow, so each kept pixel still gives the point that it gave before.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sam2act.data.rlbench.demo_folders import DESCRIPTIONS_FILE, LOW_DIM_FILE, VARIATION_FILE
from sam2act.data.rlbench.demo_images import image_path, read_picture, recorded_cameras
from sam2act.data.rlbench.demos import read_episode
from sam2act.data.rlbench.types import Demo, DemoError, dump_published

_KINDS = ("rgb", "depth", "mask")


class Grid(NamedTuple):
    """Pixel (u, v) of the new image is pixel (left + step * u, top + step * v) of the old one."""

    left: int
    top: int
    step: int
    size: int  # pixels per side of the new image

    def pixels(self, old: np.ndarray) -> np.ndarray:
        """(S, S, 3) of (H, W, 3)."""
        rows = slice(self.top, self.top + self.size * self.step, self.step)
        columns = slice(self.left, self.left + self.size * self.step, self.step)
        return np.ascontiguousarray(old[rows, columns])

    def intrinsics(self, old: np.ndarray) -> np.ndarray:
        """(3, 3) camera matrix of the new image."""
        scale = 1.0 / self.step
        to_new = np.array(
            [[scale, 0, -self.left * scale], [0, scale, -self.top * scale], [0, 0, 1]]
        )
        return to_new @ np.asarray(old, np.float64)


def centred_grid(width: int, height: int, size: int) -> Grid:
    """The largest step with which `size` pixels per side fit, about the centre of the image.

    Raises:
        DemoError: the image has fewer pixels.
    """
    step = min(width, height) // size
    if step == 0:
        raise DemoError(
            f"images of {width} x {height} pixels hold no {size} x {size}; choose a smaller "
            "--image-size"
        )
    span = (size - 1) * step + 1
    return Grid((width - span) // 2, (height - span) // 2, step, size)


def crop_episode(source: Path, target: Path, size: int) -> None:
    """Writes episode folder `source` as `target`, all cameras with `size` pixels per side.

    `target` appears complete or not at all.

    Raises:
        DemoError: the episode is broken, a camera has images of several sizes or too small ones,
            or `target` exists.
    """
    if target.exists():
        raise DemoError(f"{target}: is there already; choose another --output, or remove it")
    demo = read_episode(source).demo
    partial = target.with_name(f"{target.name}.part-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        for camera in recorded_cameras(source):
            grid = _crop_images(source, partial, camera, size)
            if grid is not None:
                _crop_matrices(source, demo, camera, grid)
        dump_published(demo, partial / LOW_DIM_FILE)
        for name in (DESCRIPTIONS_FILE, VARIATION_FILE):
            shutil.copyfile(source / name, partial / name)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _crop_images(source: Path, target: Path, camera: str, size: int) -> Grid | None:
    """Crops all images of a camera; the grid, None if it has no images."""
    shape: tuple[int, ...] | None = None
    grid = None
    for kind in _KINDS:
        for old in sorted((source / f"{camera}_{kind}").glob("[0-9]*.png")):
            pixels = read_picture(old, "depth" if kind == "depth" else "rgb")
            if shape is None:
                shape = pixels.shape
                grid = centred_grid(shape[1], shape[0], size)
            if pixels.shape != shape or grid is None:
                raise DemoError(
                    f"{old}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, but other images of "
                    f"{camera} have {shape[1]} x {shape[0]}; record the episode again"
                )
            new = image_path(target, camera, kind, int(old.stem))
            new.parent.mkdir(exist_ok=True)
            Image.fromarray(grid.pixels(pixels)).save(new)
    return grid


def _crop_matrices(source: Path, demo: Demo, camera: str, grid: Grid) -> None:
    """Changes the camera matrix of every frame."""
    key = f"{camera}_camera_intrinsics"
    for frame, observation in enumerate(demo):
        misc = getattr(observation, "misc", None)
        misc = misc if isinstance(misc, dict) else {}
        matrix = np.asarray(misc.get(key))
        if matrix.shape != (3, 3):
            raise DemoError(
                f"{source / LOW_DIM_FILE}: misc of frame {frame} has no usable {key!r}, without "
                "which images give no points; record the episode again"
            )
        observation.misc = {**misc, key: grid.intrinsics(matrix)}
