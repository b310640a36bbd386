"""How the cameras of the embedded simulator are described."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole camera as RLBench describes it.

    Attributes:
        name: one of `sam2act.envs.base.CAMERAS`.
        pose: (4, 4) camera axes and position; in the world, or in the tip frame if `on_hand`.
        field_of_view: degrees, of the whole image height.
        near: metres, depth 0 of stored images.
        far: metres, depth 1 of stored images; also the depth where nothing is seen.
        on_hand: whether the camera moves with the gripper.
    """

    name: str
    pose: np.ndarray
    field_of_view: float
    near: float
    far: float
    on_hand: bool = False

    def intrinsics(self, image_size: int) -> np.ndarray:
        """(3, 3) K with RLBench's negative focal lengths, in pixels."""
        half = image_size / 2
        focal = -half / np.tan(np.deg2rad(self.field_of_view) / 2)
        return np.array([[focal, 0.0, half], [0.0, focal, half], [0.0, 0.0, 1.0]])
