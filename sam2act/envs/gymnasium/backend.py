"""Environments of gymnasium as a backend: `--backend gymnasium --tasks ID`; see `registry.Backend`.

What an environment gives and takes is read from its spaces: `spec` opens it and closes it again.
gymnasium is imported only when one of these functions is called.
"""

from __future__ import annotations

import functools
import inspect
import json
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sam2act.core.errors import ConfigError, MissingSimulatorError
from sam2act.core.specs import EnvSpec
from sam2act.envs.base import Env, EnvConfig, options_of

if TYPE_CHECKING:
    from sam2act.envs.gymnasium.foreign import ForeignEnv

INSTALL = 'environments of gymnasium need it: pip install "gymnasium>=1.1.1"'


@dataclass(frozen=True)
class Options:
    """What a user may choose (`--env-opts "rate 20"`).

    Attributes:
        arguments: further keywords of `gymnasium.make`, as a JSON object.
        camera: what the only image of an environment is called.
        rate: actions per second, where the environment does not say what its actions are.
        success_reward: least reward that is success, where `info` has no `is_success`.
    """

    arguments: str = "{}"
    camera: str = "front"
    rate: float = 10.0
    success_reward: float = 1.0


def problem() -> str:
    """Why the backend cannot be used; empty = it can."""
    return INSTALL if find_spec("gymnasium") is None else ""


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: gymnasium is not installed.
        ConfigError: there is no such id, or an option is impossible.
    """
    return _made(config)


@functools.lru_cache(maxsize=8)
def spec(config: EnvConfig) -> EnvSpec:
    """What the environment of `config` gives and takes; it is opened and closed."""
    env = _made(config)
    env.close()
    return env.spec


def tasks() -> None:
    """Only the ids themselves are known."""
    return None


def check_task(name: str) -> None:
    """Make sure that there is an id `name`, `module:id` included.

    Raises:
        MissingSimulatorError: gymnasium is not installed.
        ConfigError: there is none.
    """
    if problem():
        raise MissingSimulatorError(problem())
    import gymnasium

    module, _, known = name.rpartition(":")
    try:
        if module:
            import_module(module)  # as gymnasium does
        gymnasium.spec(known)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise ConfigError(f"tasks: {name!r} is no id of gymnasium: {error}") from error


def variation_count(task: str) -> None:
    """Only the running environment knows."""
    return None


def _made(config: EnvConfig) -> ForeignEnv:
    check_task(config.task)
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    from sam2act.envs.gymnasium.foreign import ForeignEnv

    options = options_of(config, Options)
    known = gymnasium.spec(config.task.rpartition(":")[2])
    creator: Any = known.entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    taken = inspect.signature(creator).parameters if creator is not None else {}
    wished: dict[str, Any] = {"cameras": config.cameras, "image_size": config.image_size}
    keywords = {name: value for name, value in wished.items() if name in taken}
    return ForeignEnv(
        gymnasium.make(config.task, **keywords | _arguments(options)),
        camera=options.camera,
        rate=options.rate,
        success_reward=options.success_reward,
    )


def _arguments(options: Options) -> dict[str, Any]:
    try:
        values = json.loads(options.arguments)
    except ValueError as error:
        raise ConfigError(f"arguments: {options.arguments!r} is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"arguments: {options.arguments!r} is no JSON object")
    return values
