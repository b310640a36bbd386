"""A small environment of pictures alone: a dot that is to be kept in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.specs import CameraSpec, EnvSpec
from sam2act.core.types import Frame
from sam2act.envs.base import EnvConfig, StepResult

STEPS, REACH = 12, 0.25
ACTION = ActionSpec("raw", (Component("action", 1, "of its range", "", -1.0, 1.0),), rate=10.0)


@dataclass(frozen=True)
class Options:
    """Frames per action."""

    action_repeat: int = 2


class Catch:
    """The dot moves by the action; the reward is 1 in the middle."""

    def __init__(self, config: EnvConfig) -> None:
        self.config, self.spec = config, spec(config)
        self.actions: list[float] = []

    def variation_count(self) -> int:
        return 1

    def reset(self, variation: int, seed: int) -> tuple[list[str], Frame]:
        self._place = float(np.random.default_rng(seed).uniform(-1, 1))
        self._steps = 0
        return ["stay in the middle"], self._frame()

    def step(self, action: np.ndarray, control: str) -> StepResult:
        assert control == "raw" and action.shape == (1,)
        self.actions.append(float(action[0]))
        self._place = float(np.clip(self._place + REACH * action[0], -1, 1))
        self._steps += 1
        reward = float(abs(self._place) < REACH)
        info: dict[str, Any] = {"discount": 1.0}
        return StepResult(self._frame(), reward, self._steps == STEPS, info)

    def close(self) -> None:
        pass

    def _frame(self) -> Frame:
        side = self.config.image_size
        picture = np.full((side, side, 3), 60, np.uint8)
        column = int((self._place + 1) / 2 * (side - 3))
        picture[side // 2 - 1 : side // 2 + 2, column : column + 3] = (250, 80, 60)
        return Frame(rgb={"camera": picture}, state={})


def problem() -> str:
    return ""


def check_task(name: str) -> None:
    assert name == "middle"


def tasks() -> Sequence[str]:
    return ["middle"]


def variation_count(task: str) -> int:
    return 1


def spec(config: EnvConfig) -> EnvSpec:
    side = config.image_size
    return EnvSpec((CameraSpec("camera", side, side, depth=False),), (), (ACTION,), STEPS)


def make_env(config: EnvConfig) -> Catch:
    return Catch(config)
