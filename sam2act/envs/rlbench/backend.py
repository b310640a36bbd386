"""What the registry of environments needs of RLBench; see `envs.registry.Backend`.

RLBench is imported only when an environment is made.
"""

from __future__ import annotations

from sam2act.envs.base import Env, EnvConfig


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: the simulator is not installed.
        ValueError: RLBench has no such task.
    """
    from sam2act.envs.rlbench.env import RLBenchEnv

    return RLBenchEnv(config)


def check_task(name: str) -> None:
    """Make sure that there is a task `name`; no simulator is started.

    Raises:
        MissingSimulatorError: the simulator is not installed.
        ValueError: there is none; the message names the nearest one.
    """
    from sam2act.envs.rlbench.config import check_task_name

    check_task_name(name)


def variation_count(task: str) -> None:
    """None: only the running simulator knows."""
