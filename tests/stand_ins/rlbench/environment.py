from __future__ import annotations

from typing import Any

from pyrep.world import WORLD

from rlbench.action_modes.action_mode import MoveArmThenGripper
from rlbench.backend.scene import Scene
from rlbench.observation_config import ObservationConfig
from rlbench.task_environment import TaskEnvironment


class Environment:
    def __init__(
        self,
        action_mode: MoveArmThenGripper,
        dataset_root: str = "",
        obs_config: ObservationConfig | None = None,
        headless: bool = False,
        static_positions: bool = False,
        robot_setup: str = "panda",
    ) -> None:
        assert isinstance(action_mode, MoveArmThenGripper)
        assert isinstance(obs_config, ObservationConfig) and isinstance(headless, bool)
        self._mode, self._config, self._headless = action_mode, obs_config, headless

    def launch(self) -> None:
        if WORLD.launched:
            raise RuntimeError("Already called launch.")
        if WORLD.launch_error is not None:
            raise WORLD.launch_error
        WORLD.launched = True
        WORLD.note("launch", self._headless, self._config)
        self._mode.arm_action_mode.set_control_mode(None)

    def get_task(self, task_class: Any) -> TaskEnvironment:
        if not WORLD.launched:
            raise RuntimeError("Call launch first.")
        WORLD.note("get_task", task_class.__name__)
        return TaskEnvironment(Scene(self._config, task_class()), self._mode)

    def shutdown(self) -> None:
        assert WORLD.launched, "shut down twice"
        WORLD.launched = False
        WORLD.note("shutdown")
