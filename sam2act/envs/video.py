"""Films as mp4 (PyAV), GIF or WebP (Pillow)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = (".mp4", ".gif", ".webp")


def check_video_path(path: str | Path) -> Path:
    """`path`, if a film can be written there.

    Raises:
        ValueError: the suffix is unknown, or mp4 is wanted and PyAV is missing.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a film ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4" and find_spec("av") is None:
        raise ValueError(f'{path}: mp4 needs PyAV: pip install "av>=12", or choose .gif or .webp')
    return path


def write_video(path: str | Path, frames: Iterable[np.ndarray], rate: float) -> Path:
    """Write `frames`, each (H, W, 3) uint8 with even H and W, at `rate` per second.

    The file appears when it is complete.

    Raises:
        ValueError: see `check_video_path`; or there are no frames.
    """
    path = check_video_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        write = _write_mp4 if path.suffix.lower() == ".mp4" else _write_animation
        write(partial, iter(frames), rate)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _write_mp4(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("h264", rate=Fraction(rate).limit_denominator(1000))
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is None:
            raise ValueError(f"{path}: a film needs at least one frame")
        container.mux(stream.encode())


def _write_animation(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    if not images:
        raise ValueError(f"{path}: a film needs at least one frame")
    if path.suffix.lower() == ".gif":  # one palette for all frames, so that colours do not flicker
        palette = _strip([images[i] for i in (0, len(images) // 2, -1)]).quantize(128)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=1000 / rate, loop=0, optimize=True
    )


def _strip(images: list[Image.Image]) -> Image.Image:
    """Images of equal size beside each other."""
    width, height = images[0].size
    strip = Image.new("RGB", (width * len(images), height))
    for number, image in enumerate(images):
        strip.paste(image, (number * width, 0))
    return strip


def read_square_video(path: Path, side: int) -> np.ndarray:
    """The middle of a film's pictures, (N, side, side, 3) uint8.

    Raises:
        ValueError: PyAV is missing, or the file holds no film.
    """
    if find_spec("av") is None:
        raise ValueError(f'{path}: mp4 needs PyAV: pip install "av>=12"')
    import av

    with av.open(str(path)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    if not pictures:
        raise ValueError(f"{path} holds no pictures; remove it or copy it again")
    return np.stack([np.asarray(_square(picture, side)) for picture in pictures])


def _square(picture: Image.Image, side: int) -> Image.Image:
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    return picture.resize((side, side), box=(left, top, left + short, top + short))
