"""Environments by name; a simulator is imported only when one of its environments is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from sam2act.core.errors import ConfigError, MissingSimulatorError
from sam2act.core.registry import ENVS
from sam2act.core.specs import EnvSpec
from sam2act.core.tasks import REAL_ROBOT_TASKS, TASK_SETS, expand_tasks
from sam2act.core.wording import listing
from sam2act.data.rlbench.types import Demo
from sam2act.envs.base import Env, EnvConfig

__all__ = ["MissingSimulatorError"]


class Backend(Protocol):
    """What a target of the registry `ENVS` offers: a module or an object with these functions.

    None of them but `make_env` may start the simulator. `Options` is a frozen dataclass of what the
    backend lets choose, legal by default. Three attributes may be left out: `DETERMINISTIC` (False;
    the same scene and actions always have the same result), `FILMS` (False; its environments are
    `Filmable`) and `AUTOMATIC_PROCESSES` (None; how many simulators an evaluation starts unless it
    is told a number).
    """

    Options: Any

    def problem(self) -> str:
        """Why the backend cannot be used now, with the remedy; empty = it can."""
        ...

    def make_env(self, config: EnvConfig) -> Env:
        """The environment of `config`; MissingSimulatorError or ValueError as in `make_env`."""
        ...

    def spec(self, config: EnvConfig) -> EnvSpec:
        """What an environment of `config` gives and takes."""
        ...

    def check_task(self, name: str) -> None:
        """Raise as `check_task` does unless there is a task `name`."""
        ...

    def tasks(self) -> Sequence[str] | None:
        """Names of all tasks; None if only the running simulator knows."""
        ...

    def variation_count(self, task: str) -> int | None:
        """Number of variations of a task; None if only the running simulator knows."""
        ...


@runtime_checkable
class RestoresDemos(Protocol):
    """A backend whose environments are `Restorable`."""

    def check_demo(self, demo: Demo, task: str, *, exact: bool) -> None:
        """Make sure that a recorded demo can start an episode of `task`.

        Args:
            demo: without images.
            task: name of the task.
            exact: its scene is restored as it was; False = its variation and seed are taken.

        Raises:
            ValueError: it cannot; the message says why.
        """
        ...


@runtime_checkable
class Perturbs(Protocol):
    """A backend whose `Options` have `perturbations`."""

    def perturbed_by(self, tasks: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
        """The factors that the perturbations `names` mean for each of `tasks`.

        Raises:
            ValueError: a name is unknown, or they change nothing in any of the tasks.
        """
        ...


def get_backend(name: str) -> Backend:
    """The backend called `name`.

    Raises:
        ConfigError: there is none of that name.
    """
    found: Backend = ENVS.get(name)
    return found


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: the backend is not installed.
        ValueError: the backend has no such task, camera or option.
    """
    return get_backend(config.backend).make_env(config)


def env_spec(config: EnvConfig) -> EnvSpec:
    """What an environment of `config` gives and takes; no simulator is started."""
    return get_backend(config.backend).spec(config)


def check_task(backend: str, name: str) -> None:
    """Make sure that `backend` has task `name`; no simulator is started.

    Raises:
        MissingSimulatorError: the backend is not installed.
        ValueError: there is no such backend or task; the message names the nearest one.
    """
    get_backend(backend).check_task(name)


def choose_tasks(names: Sequence[str], backend: str = "embedded") -> list[str]:
    """Task names of a backend, each once; `all`, `memorybench` and others stand for sets.

    Raises:
        MissingSimulatorError: the backend is not installed.
        ValueError: it has no such task; the message names the nearest one.
    """
    chosen = list(dict.fromkeys(expand_tasks(names)))
    check_tasks(backend, names)
    return chosen


def check_tasks(backend: str, names: Sequence[str]) -> None:
    """Make sure that `backend` has all tasks that `names`, sets among them, stand for.

    Raises:
        MissingSimulatorError: the backend is not installed.
        ValueError: it has not; of a set the message names the tasks that it has.
    """
    known = get_backend(backend).tasks()
    for name in names:
        for task in expand_tasks([name]):
            is_of_rlbench = name in TASK_SETS and task not in REAL_ROBOT_TASKS
            if is_of_rlbench and known is not None and task not in known:
                raise ConfigError(
                    f"{name} stands for tasks of RLBench, but backend {backend} has "
                    f"{listing(known)}; name some of them"
                )
            check_task(backend, task)
