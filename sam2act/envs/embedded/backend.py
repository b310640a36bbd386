"""What the registry of environments needs of the embedded simulator; see `envs.registry.Backend`.

MuJoCo is imported only when one of these functions is called.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec

from sam2act.core.errors import ConfigError, MissingSimulatorError
from sam2act.core.specs import EnvSpec
from sam2act.data.rlbench.types import Demo
from sam2act.envs.base import Env, EnvConfig
from sam2act.envs.embedded.options import CONTROLS, SCENE_VERSION, Options
from sam2act.envs.recorded import check_origin, plain_seed, recorded_spec

__all__ = ["Options"]
INSTALL_MUJOCO = (
    'the embedded simulator needs MuJoCo: pip install -e ".[sim]" (any mujoco-core 4 or mujoco 3.5)'
)
DETERMINISTIC = True
FILMS = True


def problem() -> str:
    """Why the simulator cannot be used; empty = it can."""
    return INSTALL_MUJOCO if find_spec("mujoco") is None else ""


def require_mujoco() -> None:
    """Make sure that MuJoCo can be imported, without OpenGL.

    Raises:
        MissingSimulatorError: it is not installed.
    """
    if problem():
        raise MissingSimulatorError(problem())
    # The full package `mujoco`, if that is what is installed, would look for OpenGL at import.
    os.environ.setdefault("MUJOCO_GL", "disabled")


def make_env(config: EnvConfig) -> Env:
    """The environment of `config`.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
        ValueError: there is no such task, camera or perturbation.
    """
    require_mujoco()
    from sam2act.envs.embedded.sim import EmbeddedEnv

    return EmbeddedEnv(config)


def spec(config: EnvConfig) -> EnvSpec:
    """What an environment of `config` gives and takes."""
    return recorded_spec(config, CONTROLS)


def check_task(name: str) -> None:
    """Make sure that there is a task `name`.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
        ValueError: there is none; the message names the nearest one.
    """
    require_mujoco()
    from sam2act.envs.embedded.perturbations.choice import perturber_of
    from sam2act.envs.embedded.tasks import task_class

    task_class(name)
    perturber_of(name, ())


def tasks() -> list[str]:
    """Names of the tasks.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
    """
    require_mujoco()
    from sam2act.envs.embedded.tasks import task_names

    return task_names()


def variation_count(task: str) -> int:
    """Number of variations of a task that `check_task` accepts."""
    from sam2act.envs.embedded.perturbations.choice import perturber_of, variations_of
    from sam2act.envs.embedded.tasks import task_class

    return variations_of(task_class(task), perturber_of(task, ()))


def check_demo(demo: Demo, task: str, *, exact: bool) -> None:
    """Make sure that the scene of a recorded demo can be restored; see `registry.RestoresDemos`."""
    here = {"backend": "embedded", "task": task, "scene_version": SCENE_VERSION}
    check_origin(demo, here | ({"perturbations": []} if exact else {}))
    plain_seed(demo.random_seed)


def perturbed_by(tasks: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """The factors that the perturbations `names` mean for each of `tasks`.

    A factor is left out of a task in which there is nothing that it may change.

    Raises:
        MissingSimulatorError: MuJoCo is not installed.
        ValueError: a name is unknown, or `names` change nothing in any of the tasks.
    """
    require_mujoco()
    from sam2act.envs.embedded.perturbations.choice import perturber_of
    from sam2act.envs.embedded.perturbations.factors import factors_of
    from sam2act.envs.embedded.tasks import task_class

    if not names:
        return {task: [] for task in tasks}
    for task in tasks:
        perturber_of(task, names)
    found = {task: list(factors_of(names, task_class(task))) for task in tasks}
    if names and not any(found.values()):
        raise ConfigError(
            f"perturbation {', '.join(names)} changes nothing in {', '.join(tasks)}: the "
            "instruction tells by their looks what it would recolour, or sizes are fixed; "
            "`sam2act demos --list` says which tasks a factor leaves alone"
        )
    return found
