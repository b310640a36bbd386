"""Pictures that clients upload, as camera images."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from sam2act.core.specs import CameraSpec
from sam2act.core.types import ContractError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


def decoded(content: bytes, camera: CameraSpec, most_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8 in the size that `camera` has, scaled by means over areas if need be.

    Args:
        content: of a file in one of `FORMATS`.
        camera: whose picture it is; 0 x 0 pixels mean any size.
        most_pixels: more are refused before they are unpacked.

    Raises:
        ContractError: it is no such file, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that are refused below
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            width, height = picture.size
            if width * height > most_pixels:
                raise ContractError(
                    f"image: {width} x {height} pixels, more than the limit of {most_pixels}"
                )
            rgb = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(
            f"image: {len(content)} bytes that are no whole picture; send {', '.join(FORMATS)}"
        ) from error
    if camera.height and (width, height) != (camera.width, camera.height):
        rgb = rgb.resize((camera.width, camera.height), Image.Resampling.BOX)
    return np.array(rgb)
