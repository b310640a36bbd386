"""Colour pictures of any number format as bytes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

logger = logging.getLogger(__name__)
_BYTES = (0.0, 255.0)
_FLOAT_RANGES = ((0.0, 1.0), (-1.0, 1.0), _BYTES)  # the first that holds a picture is taken
_SLACK = 0.002  # share of a range by which a value may lie outside: half a byte


class ColourReader:
    """Brings the colour pictures of one source to 0..255.

    Bytes and other integers are taken as they are. The range of float pictures, 0..1, -1..1 or
    0..255, is recognised from the first ones that are not black; all later ones must fit.
    """

    def __init__(self) -> None:
        self._range: tuple[float, float] | None = None

    def to_bytes(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures of one shape, as one uint8 array.

        Raises:
            ValueError: says which values fit no range.
        """
        others = [picture for picture in pictures if picture.dtype.kind in "fb"]
        if self._range is None and any(picture.any() for picture in others):
            self._recognise(np.stack(others).astype(np.float64))
        return np.stack([self._scaled(picture) for picture in pictures])

    def _recognise(self, values: np.ndarray) -> None:
        fitting = [limits for limits in _FLOAT_RANGES if _fits(values, *limits)]
        if fitting:
            self._range = fitting[0]
            logger.warning("float pictures: %g..%g is scaled to 0..255", *self._range)

    def _scaled(self, picture: np.ndarray) -> np.ndarray:
        if picture.dtype == np.uint8:
            return picture
        is_float = picture.dtype.kind in "fb"
        low, high = self._range if is_float and self._range else _BYTES
        values = picture.astype(np.float64)
        if not _fits(values, low, high):
            found = f"got {values.min():g} to {values.max():g}"
            raise ValueError(f"expected colours in {low:g}..{high:g} as in all pictures, {found}")
        return np.rint((values - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)


def _fits(values: np.ndarray, low: float, high: float) -> bool:
    slack = _SLACK * (high - low)
    return bool(values.min() >= low - slack and values.max() <= high + slack)  # NaN never does
