"""What the registry of environments needs of the embedded simulator; see `envs.registry.Backend`.

MuJoCo is imported only when one of these functions is called.
"""

from __future__ import annotations

from sam2act.envs.base import Env, EnvConfig
from sam2act.envs.registry import require_mujoco


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
        ValueError: there is no such task, or a perturbation does not exist.
    """
    require_mujoco()
    from sam2act.envs.embedded.sim import EmbeddedEnv

    return EmbeddedEnv(config)


def check_task(name: str) -> None:
    """Make sure that there is a task `name`.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
        ValueError: there is none; the message names the nearest one.
    """
    require_mujoco()
    from sam2act.envs.embedded.tasks import task_class

    task_class(name)


def variation_count(task: str) -> int:
    """Number of variations of a task that `check_task` accepts."""
    from sam2act.envs.embedded.tasks import task_class

    return task_class(task).variations
