"""Pictures that clients upload, as camera images."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from sam2act.core.specs import CameraSpec
from sam2act.core.types import ContractError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


def pixels(content: bytes, most_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8 of the bytes of a file in one of `FORMATS`.

    Args:
        content: of the file.
        most_pixels: more are refused before they are unpacked.

    Raises:
        ContractError: it is no such file, or too large.
    """
    return np.array(_picture(content, most_pixels))


def decoded(content: bytes, camera: CameraSpec, most_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8 in the size that `camera` has, scaled by means over areas if need be.

    Args:
        content: see `pixels`.
        camera: whose picture it is; 0 x 0 pixels mean any size.
        most_pixels: see `pixels`.

    Raises:
        ContractError: see `pixels`.
    """
    rgb = _picture(content, most_pixels)
    if camera.height and rgb.size != (camera.width, camera.height):
        rgb = rgb.resize((camera.width, camera.height), Image.Resampling.BOX)
    return np.array(rgb)


def _picture(content: bytes, most_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that are refused below
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            width, height = picture.size
            if width * height > most_pixels:
                raise ContractError(
                    f"image: {width} x {height} pixels, more than the limit of {most_pixels}"
                )
            return picture.convert("RGB")
    except ContractError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ContractError(
            f"image: {len(content)} bytes that are no whole picture; send {', '.join(FORMATS)}"
        ) from error
