from __future__ import annotations

from typing import Any

import numpy as np

from pyrep.const import RenderMode
from pyrep.world import WORLD


class VisionSensor:
    def __init__(self, resolution: list[int], explicit: bool) -> None:
        self._resolution, self._explicit, self._step = resolution, explicit, -1

    @staticmethod
    def create(
        resolution: list[int],
        explicit_handling: bool = False,
        perspective_mode: bool = True,
        near_clipping_plane: float = 0.01,
        far_clipping_plane: float = 10.0,
        view_angle: float = 60.0,
        render_mode: RenderMode = RenderMode.OPENGL3,
    ) -> VisionSensor:
        assert isinstance(resolution, list) and len(resolution) == 2
        assert isinstance(render_mode, RenderMode)
        WORLD.note("sensor", tuple(resolution), explicit_handling)
        return VisionSensor(resolution, explicit_handling)

    def set_pose(self, pose: np.ndarray) -> None:
        WORLD.note("sensor pose", np.asarray(pose))

    def set_parent(self, parent_object: Any, keep_in_place: bool = True) -> None:
        WORLD.note("sensor parent", parent_object.name)

    def handle_explicitly(self) -> None:
        if not self._explicit:
            raise RuntimeError("The explicit_handling is disabled.")
        WORLD.note("render")
        self._step = WORLD.steps

    def capture_rgb(self) -> np.ndarray:
        """(H, W, 3) float32; the brightness counts simulation steps."""
        assert self._step == WORLD.steps, "captured without rendering this step"
        width, height = self._resolution
        return np.full((height, width, 3), min(self._step / 100, 1.5), np.float32)
