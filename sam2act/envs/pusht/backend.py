"""What the registry of environments needs of PushT; see `envs.registry.Backend`.

gym-pusht is imported only when an environment is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import ConfigError, MissingSimulatorError
from sam2act.core.specs import CameraSpec, EnvSpec
from sam2act.envs.base import Env, EnvConfig, require_cameras

TASK, CAMERA = "pusht", "img"
EPISODE_LENGTH = 300  # actions
INSTRUCTION = "push the T-shaped block onto the T-shaped target"
ACTION = ActionSpec("raw", (Component("action", 2, ""),), rate=10.0)  # where to go, in 512 units
STATE = (
    Component("agent_pos", 2, ""),
    Component("state", 5, ""),
)  # agent x y; with block x y angle
DETERMINISTIC = True
FILMS = True


@dataclass(frozen=True)
class Options:
    """What the backend lets choose.

    Attributes:
        fix_goal: the target always lies in the same place; False = anywhere around the middle, at
            any angle (PushT-M).
    """

    fix_goal: bool = True


def problem() -> str:
    """Why the simulator cannot be used; empty = it can."""
    if find_spec("gym_pusht") is None or find_spec("gymnasium") is None:
        return "PushT needs the package gym-pusht: pip install 'sam2act[pusht]'"
    return ""


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: gym-pusht is not installed.
        ValueError: there is no such task or camera.
    """
    if problem():
        raise MissingSimulatorError(problem())
    check_task(config.task)
    require_cameras(config, (CAMERA,))
    from sam2act.envs.pusht.env import PushTEnv

    return PushTEnv(config)


def spec(config: EnvConfig) -> EnvSpec:
    """What an environment of `config` gives and takes."""
    side = config.image_size
    return EnvSpec(
        camera_specs=(CameraSpec(CAMERA, side, side, depth=False),),
        state=STATE,
        actions=(ACTION,),
        episode_length=EPISODE_LENGTH,
    )


def check_task(name: str) -> None:
    """Raise `ConfigError` unless `name` is the only task."""
    if name != TASK:
        raise ConfigError(f"tasks: backend pusht has the task {TASK}, not {name}")


def tasks() -> list[str]:
    """Names of the tasks."""
    return [TASK]


def variation_count(task: str) -> int:
    """Number of variations."""
    return 1
