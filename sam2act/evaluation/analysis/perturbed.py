"""How much perturbations change success, relative to the unperturbed scenes of the same tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sam2act.core.tasks import COLOSSEUM_INDICES, colosseum_task
from sam2act.evaluation.analysis.aggregate import Run, Success, average_tasks, tasks_of
from sam2act.evaluation.analysis.methods import Method


@dataclass(frozen=True)
class RelativeChange:
    """Success of one method under a perturbation and without it.

    Attributes:
        method: label of the perturbed evaluations.
        perturbation: its factors.
        tasks: those of both evaluations in which a factor acts.
        plain: success without the perturbation, averaged over `tasks`.
        perturbed: the same with it.
    """

    method: str
    perturbation: str
    tasks: tuple[str, ...]
    plain: Success
    perturbed: Success

    @property
    def change(self) -> float | None:
        """Perturbed over plain rate, minus 1; None where nothing succeeds without perturbation."""
        return self.perturbed.rate / self.plain.rate - 1 if self.plain.rate else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `change`; the upper end may be infinite."""
        low, high = ratio_interval(self.perturbed, self.plain)
        return low - 1, high - 1


def ratio_interval(above: Success, below: Success) -> tuple[float, float]:
    """The interval of the ratio of two rates, from their own intervals (Donner & Zou 2012).

    The rates are taken as independent; with equal scenes on both sides the interval is wider than
    it need be.
    """
    (low, high), (least, most) = above.interval, below.interval
    product = above.rate * below.rate

    def root(end: float, other: float) -> float:
        square = end * other * (2 * above.rate - end) * (2 * below.rate - other)
        return product + math.sqrt(max(product**2 - square, 0.0))

    bottom = root(low, most)
    lower = low * (2 * above.rate - low) / bottom if bottom else 0.0
    top = least * (2 * below.rate - least)
    return lower, root(high, least) / top if top > 0 else math.inf


def relative_changes(methods: Sequence[Method]) -> list[RelativeChange]:
    """A row per perturbed method that has an unperturbed evaluation to compare with, and per index
    of The Colosseum under which a method was evaluated."""
    found = [_change(method, reference(method, methods)) for method in methods]
    return [change for change in found if change is not None] + _index_changes(methods)


def _index_changes(methods: Sequence[Method]) -> list[RelativeChange]:
    """A row per checkpoint and index above 0 whose tasks were also evaluated under index 0."""
    found, seen = [], []
    for method in methods:
        if method.checkpoints in seen or method.perturbation:
            continue
        seen.append(method.checkpoints)
        same = [m for m in methods if m.checkpoints == method.checkpoints and not m.perturbation]
        runs = [run for other in same for run in other.runs]
        plain = _under_index(runs, 0)
        for index in range(1, len(COLOSSEUM_INDICES)):
            perturbed = _under_index(runs, index)
            known = tasks_of(plain)
            tasks = tuple(task for task in tasks_of(perturbed) if task in known)
            if tasks:
                name = f"{COLOSSEUM_INDICES[index]} (index {index})"
                rates = [average_tasks(_only(part, tasks)) for part in (plain, perturbed)]
                found.append(RelativeChange(method.label, name, tasks, *rates))
    return found


def _under_index(runs: Sequence[Run], index: int) -> list[Run]:
    """The episodes under an index of The Colosseum, with the plain names of their tasks."""
    found: list[Run] = []
    for run in runs:
        named = [(row, colosseum_task(row.task)) for row in run]
        rows = [replace(row, task=task[0]) for row, task in named if task and task[1] == index]
        if rows:
            found.append(rows)
    return found


def without_reference(methods: Sequence[Method]) -> list[str]:
    """Labels of perturbed methods without an unperturbed evaluation of the same checkpoint."""
    return [m.label for m in methods if m.perturbation and reference(m, methods) is None]


def reference(method: Method, methods: Sequence[Method]) -> Method | None:
    """The unperturbed evaluations of the checkpoints of `method` on one of its tasks."""
    tasks = set(_perturbed_tasks(method))
    for other in methods:
        same = other.checkpoints == method.checkpoints and not other.perturbation
        if method.perturbation and same and tasks & set(tasks_of(other.runs)):
            return other
    return None


def _change(method: Method, plain: Method | None) -> RelativeChange | None:
    if plain is None:
        return None
    known = set(tasks_of(plain.runs))
    tasks = tuple(task for task in _perturbed_tasks(method) if task in known)
    rates = [average_tasks(_only(m.runs, tasks)) for m in (plain, method)]
    return RelativeChange(method.label, method.perturbation, tasks, *rates)


def _perturbed_tasks(method: Method) -> list[str]:
    """The tasks in which a factor acts; all of them where that was not recorded."""
    tasks = tasks_of(method.runs)
    return [task for task in tasks if method.acting_factors(task) != []]


def _only(runs: Sequence[Run], tasks: Sequence[str]) -> list[Run]:
    return [[row for row in run if row.task in tasks] for run in runs]
