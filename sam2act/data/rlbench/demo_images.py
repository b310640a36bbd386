"""Reading the images of episode folders in the RLBench layout.

`<episode>/<camera>_rgb/<frame>.png` and `<episode>/<camera>_depth/<frame>.png`. Images are read by
frame number, so episodes may lack the ones that nobody asks for. The network takes square images
of one size; `demo_crops.py` makes such ones of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sam2act.data.rlbench.demo_folders import is_hidden, listed, visible_folders
from sam2act.data.rlbench.types import DemoError

IMAGE_KINDS = ("rgb", "depth")
_DECODER_THREADS = 4
_CROP = "scripts/crop_demos.py"


def image_path(folder: Path, camera: str, kind: str, frame: int) -> Path:
    """The PNG of one camera and frame; `kind` is "rgb", "depth" or "mask"."""
    return folder / f"{camera}_{kind}" / f"{frame}.png"


def recorded_cameras(folder: Path) -> list[str]:
    """The cameras of which an episode folder holds colour and depth images, sorted."""
    names = {path.name for path in visible_folders(folder)}
    cameras = sorted(name.removesuffix("_rgb") for name in names if name.endswith("_rgb"))
    return [camera for camera in cameras if f"{camera}_depth" in names]


def read_images(
    folder: str | Path,
    frames: Sequence[int],
    cameras: Sequence[str],
    image_size: int,
    kinds: Sequence[str] = IMAGE_KINDS,
) -> np.ndarray:
    """Colour and depth images of `frames`, (F, P, K, H, W, 3) uint8.

    Axis 1 follows `kinds`: colour, then the 24-bit depth code (high byte first). PNGs of other
    frames may be absent.

    Raises:
        DemoError: a PNG is absent, damaged or has another size than `image_size`.
    """
    folder = Path(folder)
    places = [(frame, kind, camera) for frame in frames for kind in kinds for camera in cameras]
    images = np.empty((len(places), image_size, image_size, 3), np.uint8)

    def read_into(index: int) -> None:
        frame, kind, camera = places[index]
        path = image_path(folder, camera, kind, frame)
        pixels = read_picture(path, kind)
        if pixels.shape[:2] != (image_size, image_size):
            sizes = _sizes(folder, cameras, frame)
            raise DemoError(
                f"{path}: the image has {pixels.shape[1]} x {pixels.shape[0]} pixels (width x "
                f"height), but image_size is {image_size}; {size_remedy(sizes)}"
            )
        images[index] = pixels

    with ThreadPoolExecutor(_DECODER_THREADS) as pool:  # decoding releases the interpreter lock
        list(pool.map(read_into, range(len(places))))
    return images.reshape(len(frames), len(kinds), len(cameras), image_size, image_size, 3)


def read_picture(path: Path, kind: str) -> np.ndarray:
    """(H, W, 3) uint8 pixels of one image of any size; `kind` is "rgb" or "depth".

    Raises:
        DemoError: the file is absent or damaged, or cannot hold such an image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            _require_form(path, kind, image.format, image.mode)
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DemoError(_why_absent(path)) from error
    except (OSError, SyntaxError) as error:
        raise DemoError(
            f"{path}: the image is damaged ({error}); copy or record the episode again"
        ) from error


def check_png(path: Path, image_size: int) -> None:
    """Compare size and checksums of a PNG without decoding it.

    Raises:
        DemoError: it is absent, damaged or has another size than `image_size`.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            size = image.size
            image.verify()
    except (OSError, SyntaxError, ValueError) as error:
        raise DemoError(f"{path}: absent or damaged ({error})") from error
    if size != (image_size, image_size):
        raise DemoError(f"{path}: {size[0]} x {size[1]} pixels instead of {image_size}")


def _require_form(path: Path, kind: str, form: str | None, mode: str) -> None:
    """Raises for what would lose depth or is no colour image."""
    if kind == "depth" and form != "PNG":
        raise DemoError(
            f"{path}: is a {form}, which changes depth codes, under the name of a PNG; record the "
            "depth images as PNG"
        )
    if mode in ("RGB", "RGBA"):
        return
    remedy = "convert it with Pillow: Image.open(path).convert('RGB').save(path)"
    if kind == "depth":
        remedy = (
            "depth is a 24-bit code in the three channels, high byte first: write it with "
            "sam2act.geometry.cameras.encode_depth((metres - near) / (far - near))"
        )
    raise DemoError(f"{path}: mode {mode} instead of 8-bit RGB; {remedy}")


def _why_absent(path: Path) -> str:
    """The message for an image that is not there: what is, and what to do."""
    folder = path.parent
    if not folder.is_dir():
        cameras = ", ".join(recorded_cameras(folder.parent)) or "none"
        return (
            f"{folder}: no such folder; cameras with images in this episode: {cameras}. Name only "
            "such ones in the key cameras, or record with this one too"
        )
    names = sorted(entry.name for entry in folder.iterdir() if not is_hidden(entry))
    if names and not any(_is_frame(name) for name in names):
        return (
            f"{path}: no such image; this folder holds {listed(names[:3])}, but images are PNGs "
            "called <frame>.png, without leading zeros: convert or rename them"
        )
    return (
        f"{path}: this frame is needed for training but absent; copy the episode completely "
        "(frame 0, every tenth frame and the keyframes of every camera; all frames for a policy "
        "that is not one of keyframes)"
    )


def _is_frame(name: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    return suffix == "png" and stem.isdigit() and str(int(stem)) == stem


def _sizes(folder: Path, cameras: Sequence[str], frame: int) -> dict[str, tuple[int, int]]:
    """Camera -> (width, height) of its images; camera_kind where colour and depth differ."""
    sizes: dict[str, tuple[int, int]] = {}
    for camera in cameras:
        pair = {}
        for kind in IMAGE_KINDS:
            shape = read_picture(image_path(folder, camera, kind, frame), kind).shape
            pair[f"{camera}_{kind}"] = (shape[1], shape[0])
        same = len(set(pair.values())) == 1
        sizes |= {camera: next(iter(pair.values()))} if same else pair
    return sizes


def size_remedy(sizes: Mapping[str, tuple[int, int]]) -> str:
    """What to do where cameras of these sizes (width, height) do not have `image_size`."""
    names: dict[tuple[int, int], list[str]] = {}
    for name, size in sizes.items():
        names.setdefault(size, []).append(name)
    if len(names) == 1:
        width, height = next(iter(names))
        if width == height:
            return f"all cameras have that size: set image_size to {width}"
        return (
            f"images must be square: {_CROP} makes square ones of these, with camera matrices to "
            "match"
        )
    parts = "; ".join(f"{', '.join(n)}: {w} x {h}" for (w, h), n in names.items())
    return (
        f"the cameras differ ({parts}) and need one square size: {_CROP} makes such images, with "
        "camera matrices to match; or name only cameras of one size in the key cameras"
    )
