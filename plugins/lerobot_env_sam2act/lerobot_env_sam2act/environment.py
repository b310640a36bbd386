"""A task as LeRobot's rollouts expect it.

LeRobot 0.4 hands on `pixels`, `agent_pos` and the nested dictionary `robot_state` alone, and looks
for `task_description` at the outermost environment. So depth and calibration stand in
`robot_state`, and the ids have no wrappers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import register, registry

from sam2act.envs.gymnasium.env import TaskEnv
from sam2act.envs.gymnasium.registration import camel_case, embedded_tasks

NAMESPACE = "lerobot_env_sam2act"
MOVED = ("depth", "intrinsics", "extrinsics")


class LeRobotTaskEnv(TaskEnv):
    """A `TaskEnv` with observations `pixels`, `agent_pos` and `robot_state`.

    `robot_state` holds `depth`, `intrinsics` and `extrinsics` of each camera and `is_first`, (1,)
    uint8, 1 at the first observation of an episode.
    """

    def __init__(self, task: str, **options: Any) -> None:
        super().__init__(task, **options)
        own = self.observation_space.spaces
        state = {name: own[name] for name in MOVED}
        state["is_first"] = spaces.Box(0, 1, (1,), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "pixels": own["pixels"],
                "agent_pos": own["agent_pos"],
                "robot_state": spaces.Dict(state),
            }
        )

    @property
    def _max_episode_steps(self) -> int:
        """LeRobot asks for the step limit under this name."""
        return self.episode_length

    def _observed(self) -> dict[str, Any]:
        whole = super()._observed()
        state = {name: whole.pop(name) for name in MOVED}
        state["is_first"] = np.array([self.step_number == 0], np.uint8)
        return whole | {"robot_state": state}


def gym_id(task: str) -> str:
    """The id of a task."""
    return f"{NAMESPACE}/{camel_case(task)}-v0"


def register_tasks() -> None:
    """Register an id without wrappers for every task."""
    for task in embedded_tasks():
        if gym_id(task) not in registry:
            register(
                id=gym_id(task),
                entry_point=f"{__name__}:LeRobotTaskEnv",
                kwargs={"task": task},
                order_enforce=False,
                disable_env_checker=True,
            )
