"""The Adroit tasks of SAM-G as environments: pictures in, actions in [-1, 1] out.

See `envs.registry.Backend`. Needs gymnasium-robotics, and with it mujoco<4.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import ConfigError, MissingSimulatorError, require
from sam2act.core.specs import CameraSpec, EnvSpec
from sam2act.core.types import Frame
from sam2act.envs.base import (
    Env,
    EnvConfig,
    StepResult,
    check_action,
    check_control,
    options_of,
)

CAMERA, CONTROL = "camera", "raw"
TIMESTEP = 0.01  # seconds per frame
# Name -> name in gymnasium-robotics, numbers of an action, frames of an episode.
TASKS = {
    "adroit_door": ("AdroitHandDoor-v1", 28, 200),
    "adroit_hammer": ("AdroitHandHammer-v1", 26, 200),
    "adroit_pen": ("AdroitHandPen-v1", 24, 200),
    "adroit_relocate": ("AdroitHandRelocate-v1", 30, 200),
}
INSTALL = (
    'gymnasium-robotics is not installed; `pip install gymnasium-robotics "mujoco<4"` in the '
    "environment that scripts/make_dmc_env.sh makes"
)


@dataclass(frozen=True)
class Options:
    """Options of `adroit`: frames per action, whose rewards are added."""

    action_repeat: int = 2

    def __post_init__(self) -> None:
        require(self.action_repeat >= 1, "action_repeat must be at least 1")


def problem() -> str:
    """Why it cannot be used; empty = it can."""
    return "" if find_spec("gymnasium_robotics") else INSTALL


def check_task(name: str) -> None:
    """Make sure that there is a task `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in TASKS:
        raise ConfigError(f"tasks: {name!r} is not in backend adroit, which has {', '.join(TASKS)}")


def tasks() -> Sequence[str]:
    """All tasks."""
    return list(TASKS)


def variation_count(task: str) -> int:
    """There is one."""
    return 1


def spec(config: EnvConfig) -> EnvSpec:
    """What an environment of `config` gives and takes."""
    check_task(config.task)
    _, size, frames = TASKS[config.task]
    repeat, side = options_of(config, Options).action_repeat, config.image_size
    part = Component("action", size, "of its range", "", -1.0, 1.0)
    return EnvSpec(
        (CameraSpec(CAMERA, side, side, depth=False),),
        state=(),
        actions=(ActionSpec(CONTROL, (part,), rate=1 / (TIMESTEP * repeat)),),
        episode_length=frames // repeat,
        instructions=False,
    )


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: gymnasium-robotics is not installed.
        ConfigError: there is no such task or option.
    """
    given = spec(config)
    if problem():
        raise MissingSimulatorError(problem())
    os.environ.setdefault("MUJOCO_GL", "egl")
    import gymnasium
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    side = config.image_size
    made = gymnasium.make(TASKS[config.task][0], render_mode="rgb_array", width=side, height=side)
    return AdroitEnv(config, given, made)


class AdroitEnv:
    """An `Env` around an environment of gymnasium that renders pictures."""

    def __init__(self, config: EnvConfig, spec: EnvSpec, made: Any) -> None:
        """Wrap `made`, whose pictures have the size of `config`."""
        self.config, self.spec, self._env = config, spec, made
        self._repeat = options_of(config, Options).action_repeat

    def variation_count(self) -> int:
        """There is one."""
        return 1

    def reset(self, variation: int, seed: int) -> tuple[list[str], Frame]:
        """Start an episode."""
        self._env.reset(seed=seed)
        return [self.config.task.replace("_", " ")], self._look()

    def step(self, action: np.ndarray, control: str) -> StepResult:
        """Repeat an action; the sum of its rewards.

        Raises:
            ConfigError: another control mode.
            InvalidActionError: the action has the wrong form.
        """
        (spec,) = self.spec.actions
        check_control(control, {spec.mode: spec}, self.config.backend)
        action = np.clip(check_action(action, spec), -1, 1).astype(np.float32)
        total, success, ended, cut = 0.0, False, False, False
        for _ in range(self._repeat):
            _, reward, ended, cut, info = self._env.step(action)
            total, success = total + float(reward), success or bool(info.get("success"))
            if ended or cut:
                break
        discount = 0.0 if ended else 1.0
        told = {"success": success, "error": None, "error_type": None, "discount": discount}
        return StepResult(self._look(), total, bool(ended or cut), told)

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    def _look(self) -> Frame:
        picture = np.ascontiguousarray(self._env.render(), dtype=np.uint8)
        return Frame(rgb={CAMERA: picture}, state={})
