from __future__ import annotations

import numpy as np

from pyrep.world import WORLD


class Dummy:
    def __init__(self, name_or_handle: str) -> None:
        self.name = WORLD.find(name_or_handle)

    def rotate(self, rotation: list[float]) -> None:
        assert len(rotation) == 3 and rotation[:2] == [0.0, 0.0]
        WORLD.turns[self.name] = WORLD.turns.get(self.name, 0.0) + rotation[2]

    def get_pose(self) -> np.ndarray:
        """The placeholder is a child of the base and turns with it."""
        turn = WORLD.turns.get("cam_cinematic_base", 0.0)
        return np.array([np.cos(turn), np.sin(turn), 2.0, 0.0, 0.0, 0.0, 1.0])
