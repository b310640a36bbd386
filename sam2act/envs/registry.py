"""Environments by name; a simulator is imported only when one of its environments is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

from sam2act.core.registry import ENVS
from sam2act.core.tasks import expand_tasks
from sam2act.envs.base import Env, EnvConfig
from sam2act.envs.rlbench.versions import MissingSimulatorError

INSTALL_MUJOCO = (
    'the embedded simulator needs MuJoCo: pip install -e ".[sim]" (any mujoco-core 4 or mujoco 3.5)'
)


class Backend(Protocol):
    """What a target of the registry `ENVS` offers: a module or an object with these functions.

    None of them but `make_env` may start the simulator.
    """

    def make_env(self, config: EnvConfig) -> Env:
        """The environment of `config`; MissingSimulatorError or ValueError as in `make_env`."""
        ...

    def check_task(self, name: str) -> None:
        """Raise as `check_task` does unless there is a task `name`."""
        ...

    def variation_count(self, task: str) -> int | None:
        """Number of variations of a task; None if only the running simulator knows."""
        ...


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: the backend is not installed.
        ValueError: the backend has no such task, or a perturbation does not exist.
    """
    return _backend(config.backend).make_env(config)


def _backend(name: str) -> Backend:
    backend: Backend = ENVS.get(name)
    return backend


def require_mujoco() -> None:
    """Make sure that MuJoCo can be imported, without OpenGL.

    Raises:
        MissingSimulatorError: it is not installed.
    """
    if find_spec("mujoco") is None:
        raise MissingSimulatorError(INSTALL_MUJOCO)
    # The full package `mujoco`, if that is what is installed, would look for OpenGL at import.
    os.environ.setdefault("MUJOCO_GL", "disabled")


def embedded_tasks() -> list[str]:
    """Names of the tasks of the embedded simulator.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
    """
    require_mujoco()
    from sam2act.envs.embedded.tasks import task_names

    return task_names()


def check_task(backend: str, name: str) -> None:
    """Make sure that `backend` has task `name`; no simulator is started.

    Raises:
        MissingSimulatorError: the backend is not installed.
        ValueError: there is no such backend or task; the message names the nearest one.
    """
    _backend(backend).check_task(name)


def variation_count(backend: str, task: str) -> int | None:
    """Number of variations of a task that `check_task` accepts; None if only a simulator knows."""
    return _backend(backend).variation_count(task)


def choose_tasks(names: list[str]) -> list[str]:
    """Task names of the embedded simulator, each once; `all` and `memorybench` stand for sets.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
        ValueError: a task does not exist; the message names the nearest one.
    """
    require_mujoco()
    from sam2act.envs.embedded.tasks import task_class

    chosen = list(dict.fromkeys(expand_tasks(names)))
    for name in chosen:
        task_class(name)
    return chosen


def perturbed_by(tasks: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """The factors that the perturbations `names` mean for each of `tasks` (embedded simulator).

    A factor is left out of a task in which there is nothing that it may change.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
        ValueError: a name is unknown, or `names` change nothing in any of the tasks.
    """
    require_mujoco()
    from sam2act.envs.embedded.perturbations.factors import factors_of
    from sam2act.envs.embedded.tasks import task_class

    found = {task: list(factors_of(names, task_class(task))) for task in tasks}
    if names and not any(found.values()):
        raise ValueError(
            f"perturbation {', '.join(names)} changes nothing in {', '.join(tasks)}: the "
            "instruction tells by their looks what it would recolour, or sizes are fixed; "
            "scripts/generate_demos.py --list says which tasks a factor leaves alone"
        )
    return found
