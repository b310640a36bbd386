"""Who perturbs a task: the factors that were asked for, or an index of The Colosseum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sam2act.core.errors import ConfigError
from sam2act.core.tasks import colosseum_task
from sam2act.envs.embedded.kit.task import Task
from sam2act.envs.embedded.perturbations import factors
from sam2act.envs.embedded.perturbations.colosseum import Strategy
from sam2act.envs.embedded.perturbations.effects import Build, Stage
from sam2act.envs.embedded.tasks import task_class


class Perturber(Protocol):
    """What changes episodes of a task.

    Attributes:
        names: of the factors.
        every_variation: whether all variations of the task occur, else only variation 0.
    """

    names: tuple[str, ...]
    every_variation: bool

    def sample_build(self, random: np.random.Generator) -> Build:
        """What the compiled model of an episode needs."""

    def place(self, stage: Stage, build: Build, random: np.random.Generator) -> None:
        """Put the additional things of `build` into the scene.

        Raises:
            BoundaryError: no free place was found.
        """

    def apply(self, stage: Stage, random: np.random.Generator) -> None:
        """Change everything else."""


def perturber_of(task: str, names: Sequence[str]) -> Perturber:
    """Who perturbs `task`: its index of The Colosseum, if its name has one, else `names`.

    Raises:
        ConfigError: both were asked for, or the benchmark does not have the index.
        ValueError: a name is unknown.
    """
    indexed = colosseum_task(task)
    if indexed is None:
        return factors.Perturber(names, task_class(task))
    if names:
        raise ConfigError(
            f"{task} is perturbed as The Colosseum does: leave --perturb {' '.join(names)} out, or "
            f"perturb {indexed[0]}"
        )
    return Strategy(*indexed)


def variations_of(task: type[Task], perturber: Perturber) -> int:
    """Number of variations that occur."""
    return task.variations if perturber.every_variation else 1
