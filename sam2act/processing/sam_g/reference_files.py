"""Reference images and their masks on disk, in the form of SAM-G's own files.

A folder holds per camera `<camera>_<n>.png` and `<camera>_masked_<n>.png` (or jpg), n = 0 and
further ones for further objects. Optional: masks of parts `<camera>_masked_<n>_<part>`, depth
`<camera>_depth_<n>.png` (16 bits, 0.1 mm), objects of a simulator `<camera>_objects_<n>.png`
(16 bits), and extra points in `points.json`: {"<camera>_<n>": [[x, y], ...]}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sam2act.core.errors import ConfigError
from sam2act.core.files import natural_order, replacing
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.target import ReferenceImage

MASKED_ABOVE = 124  # of the first channel of a masked image: half of 255, less the noise of JPEG
DEPTH_UNIT = 1e-4  # metres
POINTS_FILE = "points.json"


def read_references(folder: Path, camera: str) -> list[ReferenceImage]:
    """The references of a camera, by number.

    Raises:
        ConfigError: the folder has none of this camera, or a file does not fit its image.
    """
    pattern = re.compile(rf"{re.escape(camera)}_\d+\.png")
    files = sorted(folder.glob("*.png"), key=natural_order)
    images = [path for path in files if pattern.fullmatch(path.name)]
    if not images:
        raise ConfigError(
            f"sam_g: {folder} holds no reference {camera}_0.png of camera {camera}; "
            "`sam2act mask-reference` makes them"
        )
    points = _points(folder / POINTS_FILE)
    return [_read(path, points.get(path.stem, ())) for path in images]


def reference_of_files(
    image: Path,
    masked: Path,
    parts: Sequence[Path] = (),
    points: Sequence[tuple[float, float]] = (),
) -> ReferenceImage:
    """A reference of single files, as SAM-G's configuration names them.

    Args:
        image: the picture.
        masked: the same with everything else black, or a white mask on black.
        parts: the same of parts.
        points: (x, y) on the object, in pixels of the picture.

    Raises:
        ConfigError: a file is absent or unreadable, or its size is not that of the picture.
    """
    rgb = torch.from_numpy(_pixels(image, "RGB"))
    masks = [_mask(path, rgb.shape[:2]) for path in (masked, *parts)]
    return ReferenceImage(View(rgb), masks[0], tuple(masks[1:]), tuple(points))


def write_reference(folder: Path, camera: str, number: int, reference: ReferenceImage) -> None:
    """Write a reference in the form that `read_references` takes.

    Raises:
        OSError: a file cannot be written.
    """
    view = reference.view
    _write(folder / f"{camera}_{number}.png", view.rgb.numpy())
    masks = {"": reference.mask} | {f"_{i}": part for i, part in enumerate(reference.parts, 1)}
    for suffix, mask in masks.items():
        white = mask.numpy().astype(np.uint8) * 255
        _write(folder / f"{camera}_masked_{number}{suffix}.png", white)
    if view.depth is not None:
        steps = (view.depth.double().numpy() / DEPTH_UNIT).round().clip(0, 65535)
        _write(folder / f"{camera}_depth_{number}.png", steps.astype(np.uint16))
    if view.objects is not None:
        _write(folder / f"{camera}_objects_{number}.png", view.objects.numpy().astype(np.uint16))
    if reference.points:
        known = _points(folder / POINTS_FILE) | {f"{camera}_{number}": list(reference.points)}
        with replacing(folder / POINTS_FILE) as partial:
            partial.write_text(json.dumps(known, indent=2), encoding="utf-8")


def _read(path: Path, points: Sequence[tuple[float, float]]) -> ReferenceImage:
    camera, _, number = path.stem.rpartition("_")
    masked = _one(path, f"{camera}_masked_{number}")
    found = re.compile(rf"{re.escape(camera)}_masked_{number}_\d+\.(png|jpg)")
    parts = [p for p in sorted(path.parent.iterdir(), key=natural_order) if found.fullmatch(p.name)]
    reference = reference_of_files(path, masked, parts, points)
    depth = path.with_name(f"{camera}_depth_{number}.png")
    objects = path.with_name(f"{camera}_objects_{number}.png")
    view = View(
        reference.view.rgb,
        torch.from_numpy(_pixels(depth) * np.float32(DEPTH_UNIT)) if depth.exists() else None,
        torch.from_numpy(_pixels(objects).astype(np.int64)) if objects.exists() else None,
    )
    return ReferenceImage(view, reference.mask, reference.parts, reference.points)


def _one(path: Path, stem: str) -> Path:
    for suffix in (".png", ".jpg"):
        if (found := path.with_name(stem + suffix)).exists():
            return found
    raise ConfigError(
        f"sam_g: {path} has no mask; put {stem}.png beside it, black around the object"
    )


def _mask(path: Path, side: tuple[int, ...]) -> Tensor:
    pixels = _pixels(path, "RGB")[..., 0]
    if pixels.shape != tuple(side):
        raise ConfigError(
            f"sam_g: {path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, its image "
            f"{side[1]} x {side[0]}; save both in one size"
        )
    mask = torch.from_numpy(pixels > MASKED_ABOVE)
    if not mask.any():
        raise ConfigError(f"sam_g: {path} masks nothing: no pixel is brighter than {MASKED_ABOVE}")
    return mask


def _pixels(path: Path, mode: str | None = None) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode) if mode else image)
    except (OSError, ValueError) as error:
        raise ConfigError(f"sam_g: {path} cannot be read as an image ({error})") from error


def _points(path: Path) -> dict[str, list[tuple[float, float]]]:
    if not path.exists():
        return {}
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
        return {key: [(float(x), float(y)) for x, y in rows] for key, rows in named.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'sam_g: {path}: expected {{"front_0": [[x, y], ...]}} ({error})'
        ) from error


def _write(path: Path, pixels: np.ndarray) -> None:
    with replacing(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
