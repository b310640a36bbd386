from __future__ import annotations

from typing import Any

import numpy as np
from pyrep.world import WORLD


class Discrete:
    def __init__(self, attach_grasped_objects: bool = True, detach_before_open: bool = True):
        assert attach_grasped_objects and detach_before_open

    def action(self, scene: Any, action: np.ndarray) -> None:
        assert isinstance(action, np.ndarray) and action.shape == (1,)
        wanted = bool(action[0] > 0.5)
        if wanted != scene.robot.gripper.is_open:
            scene.robot.gripper.is_open = wanted
            WORLD.note("gripper", "open" if wanted else "close")
