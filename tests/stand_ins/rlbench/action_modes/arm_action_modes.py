from __future__ import annotations

from typing import Any

from pyrep.world import WORLD


class EndEffectorPoseViaPlanning:
    def __init__(
        self, absolute_mode: bool = True, frame: str = "world", collision_checking: bool = False
    ) -> None:
        assert absolute_mode is True and frame == "world"

    def set_control_mode(self, robot: Any) -> None:
        WORLD.note("set_control_mode")
