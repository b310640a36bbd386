"""Colour pictures of any number format as bytes."""

from __future__ import annotations

import logging

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

    def to_bytes(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures of any shape as uint8.

        Raises:
            ValueError: says which values fit no range.
        """
        if pictures.dtype == np.uint8:
            return pictures
        values = pictures.astype(np.float64)
        low, high = self._range_of(values, is_float=pictures.dtype.kind in "fb")
        if not _fits(values, low, high):
            raise ValueError(
                f"expected colours in {low:g}..{high:g}{' like the others' if self._range else ''},"
                f" got {values.min():g} to {values.max():g}"
            )
        return np.rint((values - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)

    def _range_of(self, values: np.ndarray, *, is_float: bool) -> tuple[float, float]:
        if not is_float or not values.any():
            return _BYTES
        if self._range is None:
            fitting = [limits for limits in _FLOAT_RANGES if _fits(values, *limits)]
            if not fitting:
                return _BYTES
            self._range = fitting[0]
            logger.warning("float pictures: %g..%g is scaled to 0..255", *self._range)
        return self._range


def _fits(values: np.ndarray, low: float, high: float) -> bool:
    slack = _SLACK * (high - low)
    return bool(values.min() >= low - slack and values.max() <= high + slack)  # NaN never does
