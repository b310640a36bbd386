"""The environment and its backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reach import plane
from sam2act.core.errors import ConfigError
from sam2act.core.specs import EnvSpec
from sam2act.core.types import Frame
from sam2act.envs.base import EnvConfig, StepResult, check_action, options_of

DETERMINISTIC = True


@dataclass(frozen=True)
class Options:
    """What may be chosen: nothing."""


class ReachEnv:
    """One hand and one goal."""

    def __init__(self, config: EnvConfig) -> None:
        options_of(config, Options)
        self.spec, self._config = spec(config), config

    def variation_count(self) -> int:
        """There is one variation."""
        return 1

    def reset(self, variation: int, seed: int) -> tuple[list[str], Frame]:
        """Start an episode."""
        if variation != 0:
            raise ValueError(f"variation {variation}: there is only 0")
        self._hand, self._goal = plane.scene(20_000 + seed % 2**31)
        return [plane.INSTRUCTION], self._frame()

    def step(self, action: np.ndarray, control: str) -> StepResult:
        """Move the hand, at most one step."""
        move = check_action(action, plane.RAW)
        self._hand = np.clip(
            self._hand + np.clip(move, -plane.LONGEST_STEP, plane.LONGEST_STEP), 0, 1
        )
        reward = 1 - float(np.linalg.norm(self._goal - self._hand))
        return StepResult(self._frame(), reward, reward >= plane.THRESHOLD)

    def close(self) -> None:
        """Nothing to free."""

    def _frame(self) -> Frame:
        image = plane.picture(self._hand, self._goal, self._config.image_size)
        return Frame(rgb={plane.CAMERA: image}, state={"xy": self._hand})


def problem() -> str:
    """Nothing can be missing."""
    return ""


def spec(config: EnvConfig) -> EnvSpec:
    """What an environment of `config` gives and takes."""
    return plane.spec(config.task, config.image_size)


def make_env(config: EnvConfig) -> ReachEnv:
    """The environment of `config`."""
    check_task(config.task)
    return ReachEnv(config)


def tasks() -> Sequence[str]:
    """All tasks."""
    return plane.TASKS


def check_task(name: str) -> None:
    """Raise ConfigError unless `name` is a task."""
    if name not in plane.TASKS:
        raise ConfigError(f"tasks: {name!r} is unknown to backend reach; it has {plane.TASKS}")


def variation_count(task: str) -> int:
    """One variation."""
    return 1
