"""A simulator of somebody else: a point that is pushed along a line, seen by one RGB camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import ConfigError
from sam2act.core.specs import CameraSpec, EnvSpec
from sam2act.core.types import Frame
from sam2act.envs.base import EnvConfig, StepResult, options_of

TARGET = "tests.evaluation.toy_backend"
PLACE = Component("place", 1, "m", "line")
PUSH = ActionSpec("push", (Component("distance", 1, "m", "line"),), rate=10.0)
TASKS = {"reach": 2, "leave": 1}  # variations


@dataclass(frozen=True)
class Options:
    """How far away the goal is, in metres."""

    goal: float = 1.0


class ToyEnv:
    """The reward is the part of the way that is done; 0.9 of it is success."""

    def __init__(self, config: EnvConfig) -> None:
        self.spec, self._goal = spec(config), options_of(config, Options).goal
        self._place = 0.0

    def variation_count(self) -> int:
        """Two goals: one on either side."""
        return 2

    def reset(self, variation: int, seed: int) -> tuple[list[str], Frame]:
        """At the origin."""
        self._place, self._sign = 0.0, 1 - 2 * variation
        return [f"go {'left' if variation else 'right'}"], self._frame()

    def step(self, action: np.ndarray, control: str) -> StepResult:
        """Push."""
        assert control == PUSH.mode and action.shape == (1,)
        self._place += float(action[0])
        reward = self._sign * self._place / self._goal
        return StepResult(self._frame(), reward, terminal=reward < -1)

    def close(self) -> None:
        """Nothing to free."""

    def _frame(self) -> Frame:
        image = np.full((8, 12, 3), int(100 + 10 * self._place), np.uint8)
        return Frame(rgb={"side": image}, state={"place": np.array([self._place])})


def problem() -> str:
    """Nothing is missing."""
    return ""


def make_env(config: EnvConfig) -> ToyEnv:
    """The environment of `config`."""
    return ToyEnv(config)


def spec(config: EnvConfig) -> EnvSpec:
    """What it gives and takes."""
    camera = CameraSpec("side", 8, 12, depth=False)
    return EnvSpec((camera,), (PLACE,), (PUSH,), episode_length=6, success_threshold=0.9)


def check_task(name: str) -> None:
    """Raise unless there is a task `name`."""
    if name not in TASKS:
        raise ConfigError(f"task {name!r} does not exist; there are {', '.join(TASKS)}")


def tasks() -> Sequence[str]:
    """All tasks."""
    return list(TASKS)


def variation_count(task: str) -> int:
    """Variations of a task."""
    return TASKS[task]
