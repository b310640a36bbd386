"""24-bit codes of depth images, in numpy: simulators write them and start without torch."""

from __future__ import annotations

import numpy as np

DEPTH_STEPS = 2**24 - 1  # largest code of a 24-bit depth image


def depth_codes(depth01: np.ndarray) -> np.ndarray:
    """Codes of relative depths; halves round up, values outside [0, 1] saturate.

    Args:
        depth01: (...) fraction of the way from the near to the far plane.

    Returns:
        (..., 3) uint8, high byte first.
    """
    steps = np.floor(depth01.astype(np.float64) * DEPTH_STEPS + 0.5)
    value = steps.clip(0, DEPTH_STEPS).astype(np.int64)
    return np.stack([value >> 16, (value >> 8) & 255, value & 255], axis=-1).astype(np.uint8)
