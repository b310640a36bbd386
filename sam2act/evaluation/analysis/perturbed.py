"""How much perturbations change success, relative to the unperturbed scenes of the same tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """A row per perturbed method that has an unperturbed evaluation to compare with."""
    found = [_change(method, reference(method, methods)) for method in methods]
    return [change for change in found if change is not None]


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
