"""What the registry of environments needs of RLBench; see `envs.registry.Backend`.

RLBench is imported only when an environment is made.
"""

from __future__ import annotations

import os

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import MissingSimulatorError
from sam2act.core.specs import EnvSpec
from sam2act.data.rlbench.types import Demo
from sam2act.envs.base import Env, EnvConfig
from sam2act.envs.recorded import check_origin, recorded_spec, restore_random_state
from sam2act.envs.rlbench import headless
from sam2act.envs.rlbench.config import PURPOSE, check_task_name
from sam2act.envs.rlbench.options import Options
from sam2act.envs.rlbench.versions import INSTALL_RLBENCH, require_packages, task_files

__all__ = ["Options"]
FILMS = True
AUTOMATIC_PROCESSES = 1  # a CoppeliaSim takes several cores


def problem() -> str:
    """Why the simulator cannot be used; empty = it can, as far as files tell."""
    try:
        require_packages(("rlbench", "pyrep"), PURPOSE)
    except MissingSimulatorError as error:
        return str(error)
    missing = headless.folder_problem(os.environ)
    return f"{PURPOSE}: {missing}. Installation: {INSTALL_RLBENCH}" if missing else ""


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: the simulator is not installed.
        ValueError: RLBench has no such task or camera.
    """
    from sam2act.envs.rlbench.env import RLBenchEnv

    return RLBenchEnv(config)


def spec(config: EnvConfig) -> EnvSpec:
    """What an environment of `config` gives and takes."""
    return recorded_spec(config, (KEYFRAME_POSE,))


def check_task(name: str) -> None:
    """Make sure that there is a task `name`; no simulator is started.

    Raises:
        MissingSimulatorError: the simulator is not installed.
        ValueError: there is none; the message names the nearest one.
    """
    check_task_name(name)


def tasks() -> list[str] | None:
    """Names of the tasks of the installed RLBench; None where there is none."""
    return task_files() or None


def variation_count(task: str) -> None:
    """None: only the running simulator knows."""


def check_demo(demo: Demo, task: str, *, exact: bool) -> None:
    """Make sure that the scene of a recorded demo can be restored; see `registry.RestoresDemos`."""
    check_origin(demo, {"backend": "rlbench"})
    restore_random_state(demo.random_seed, np.random.RandomState())
