"""Writing demos in the RLBench layout, whichever simulator they come from."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sam2act.core.files import naming, replacing
from sam2act.data.rlbench.demo_folders import DESCRIPTIONS_FILE, LOW_DIM_FILE, VARIATION_FILE
from sam2act.data.rlbench.demo_images import image_path
from sam2act.data.rlbench.types import Demo, RecordedObservation, dump_published
from sam2act.geometry.depth_codes import depth_codes

# zlib levels: photographs gain little from more, depth codes nothing.
_COMPRESSION = {"rgb": 3, "depth": 1, "mask": 1}
_IMAGE_FIELDS = ("rgb", "depth", "mask", "point_cloud")


def write_episode(
    folder: str | Path, demo: Demo, descriptions: Sequence[str], cameras: Sequence[str]
) -> None:
    """Write `demo` as episode folder `folder`, which appears complete or not at all.

    Frames whose images are None get no PNG; frame numbers stay as they are. Depth is stored with
    24 bits between the near and far plane, masks as number = red + 256 green + 65536 blue.

    Args:
        folder: `.../all_variations/episodes/episode<N>`; replaced if it exists.
        demo: colour (H, W, 3) uint8, depth (H, W) metres and masks (H, W) integers as attributes
            `<camera>_<kind>` of its observations.
        descriptions: instructions, the main one first.
        cameras: cameras to write.
    """
    folder = Path(folder)
    for left_over in folder.parent.glob(f"{folder.name}.part-*"):  # of a run that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    partial = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        with naming(folder):
            for frame, observation in enumerate(demo):
                _write_images(partial, frame, observation, cameras)
            dump_published(_without_images(demo), partial / LOW_DIM_FILE)
            dump_published(list(descriptions), partial / DESCRIPTIONS_FILE)
            dump_published(int(demo.variation_number), partial / VARIATION_FILE)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_descriptions(folder: Path, descriptions: Sequence[str]) -> None:
    """Write the instructions that all episodes below `folder` have, as The Colosseum does."""
    with replacing(folder / DESCRIPTIONS_FILE, shared=True) as partial:
        dump_published(list(descriptions), partial)


def _write_images(
    folder: Path, frame: int, observation: RecordedObservation, cameras: Sequence[str]
) -> None:
    for camera in cameras:
        for kind, level in _COMPRESSION.items():
            values = getattr(observation, f"{camera}_{kind}", None)
            if values is None:
                continue
            path = image_path(folder, camera, kind, frame)
            path.parent.mkdir(exist_ok=True)
            pixels = _pixels(kind, values, observation, camera)
            Image.fromarray(pixels).save(path, compress_level=level)


def _pixels(
    kind: str, values: np.ndarray, observation: RecordedObservation, camera: str
) -> np.ndarray:
    """(H, W, 3) uint8 as stored."""
    if kind == "rgb":
        return values
    if kind == "mask":
        number = values.astype(np.int64)
        return np.stack([number & 255, number >> 8 & 255, number >> 16 & 255], -1).astype(np.uint8)
    near = observation.misc[f"{camera}_camera_near"]
    far = observation.misc[f"{camera}_camera_far"]
    fraction = (values.astype(np.float64) - near) / (far - near)
    return depth_codes(fraction)


def _without_images(demo: Demo) -> Demo:
    """The demo as RLBench pickles it: image fields are None."""
    observations = []
    for observation in demo:
        bare = copy.copy(observation)
        for name in vars(bare):
            if name.endswith(_IMAGE_FIELDS):
                setattr(bare, name, None)
        observations.append(bare)
    return Demo(observations, demo.random_seed, demo.variation_number)
