from __future__ import annotations

from typing import Any

import numpy as np
from pyrep.world import WORLD

from rlbench.backend.exceptions import BoundaryError, WaypointError
from rlbench.backend.observation import Observation
from rlbench.backend.scene import Scene
from rlbench.demo import Demo


class TaskEnvironmentError(Exception):
    pass


class TaskEnvironment:
    def __init__(self, scene: Scene, action_mode: Any) -> None:
        self._scene, self._mode = scene, action_mode
        self._variation: int | None = None
        self._reset_called = False

    def variation_count(self) -> int:
        return self._scene.task.variation_count()

    def set_variation(self, v: int) -> None:
        np.random.uniform()  # so that a random state restored too early shows
        self._variation = v

    def reset(self) -> tuple[list[str], Observation]:
        assert self._variation is not None, "reset before set_variation"
        WORLD.note("reset", self._variation)
        try:
            if WORLD.reset_error is not None:
                raise WORLD.reset_error
        except (BoundaryError, WaypointError) as error:
            raise TaskEnvironmentError("Could not place the task in the scene.") from error
        self._scene.task.may_begin = True
        descriptions = self._scene.task.init_episode(self._variation)
        self._reset_called = True
        return descriptions, self._scene.get_observation()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool]:
        if not self._reset_called:
            raise RuntimeError("Call 'reset' before calling 'step' on a task.")
        assert isinstance(action, np.ndarray)
        assert np.shape(action) == (self._mode.action_shape(self._scene),)
        if WORLD.step_error is not None:
            raise WORLD.step_error
        self._mode.action(self._scene, action)
        success, terminate = self._scene.task.success()
        return self._scene.get_observation(), float(success), terminate

    def get_demos(
        self,
        amount: int,
        live_demos: bool = False,
        image_paths: bool = False,
        callable_each_step: Any = None,
        max_attempts: int = 10,
        random_selection: bool = True,
        from_episode_number: int = 0,
    ) -> list[Demo]:
        assert live_demos, "no data set was given"
        demos = []
        for _ in range(amount):
            for _ in range(max_attempts):
                state = np.random.get_state()
                self.reset()
                if WORLD.script_works:
                    demos.append(Demo([self._scene.get_observation() for _ in range(25)], state))
                    break
            else:
                raise RuntimeError("Could not collect demos. Maybe a problem with the task?")
        return demos
