"""What the registry of environments needs of DeepMind Control; see `envs.registry.Backend`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from sam2act.core.errors import ConfigError, MissingSimulatorError
from sam2act.core.specs import CameraSpec, EnvSpec
from sam2act.core.wording import listing
from sam2act.envs.base import Env, EnvConfig, options_of
from sam2act.envs.dmc.options import Options
from sam2act.envs.dmc.tasks import CAMERA, TASKS

__all__ = ["Options"]
FRAMES = 1000  # of an episode
INSTALL = (
    "dm_control is not installed; scripts/make_dmc_env.sh makes an environment of its own for it, "
    "since it needs mujoco<4, which cannot stand beside mujoco-core"
)


def problem() -> str:
    """Why it cannot be used; empty = it can."""
    return "" if find_spec("dm_control") else INSTALL


def check_task(name: str) -> None:
    """Make sure that there is a task `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in TASKS:
        raise ConfigError(f"tasks: {name!r} is not in backend dmc, which has {listing([*TASKS])}")


def tasks() -> Sequence[str]:
    """The eight tasks."""
    return list(TASKS)


def variation_count(task: str) -> int:
    """There is one."""
    return 1


def spec(config: EnvConfig) -> EnvSpec:
    """What an environment of `config` gives and takes."""
    check_task(config.task)
    options = options_of(config, Options)
    side = config.image_size
    return EnvSpec(
        (CameraSpec(CAMERA, side, side, depth=False, mask=config.masks),),
        state=(),
        actions=(TASKS[config.task].action_spec(options.action_repeat),),
        episode_length=FRAMES // options.action_repeat,
        instructions=False,
    )


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: dm_control is not installed.
        ConfigError: there is no such task or option.
    """
    given = spec(config)
    if problem():
        raise MissingSimulatorError(problem())
    os.environ.setdefault("MUJOCO_GL", "egl")
    from sam2act.envs.dmc.env import DMControlEnv

    return DMControlEnv(config, given, _load)


def _load(domain: str, task: str, seed: int) -> Any:
    from dm_control import suite

    return suite.load(domain, task, task_kwargs={"random": seed})
