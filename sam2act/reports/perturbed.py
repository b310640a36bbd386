"""The part of the report about perturbed scenes: the relative change of success per factor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sam2act.evaluation.analysis.aggregate import Success
from sam2act.evaluation.analysis.methods import Method
from sam2act.evaluation.analysis.perturbed import (
    RelativeChange,
    relative_changes,
    without_reference,
)
from sam2act.reports.bars import percent
from sam2act.reports.page import Page

HEADER = ("method", "perturbation", "tasks", "unperturbed", "perturbed", "change", "95 % interval")
FOOTNOTE = (
    "Change: success under the perturbation over success of the same checkpoint without it, minus "
    "1; both are means over the tasks in which the perturbation changes something. The interval "
    "combines the intervals of both rates and takes their episodes as independent."
)


def add_perturbed(page: Page, methods: Sequence[Method]) -> None:
    """One row per perturbed evaluation; nothing where no scene was perturbed."""
    changes, lonely = relative_changes(methods), without_reference(methods)
    if not changes and not lonely:
        return
    page.heading("Effect of perturbations")
    for label in lonely:
        page.note(
            f"{label}: the report holds no unperturbed evaluation of this checkpoint on these "
            "tasks; evaluate it without --perturb for the change."
        )
    if changes:
        page.table(HEADER, [_row(change) for change in changes], texts=(0, 1))
        page.text(FOOTNOTE)


def _row(change: RelativeChange) -> list[str]:
    low, high = change.interval
    known = change.change is not None
    return [
        change.method,
        change.perturbation,
        str(len(change.tasks)),
        _rate(change.plain),
        _rate(change.perturbed),
        _signed(change.change) if change.change is not None else "-",
        f"{_signed(low)} to {_signed(high)}" if known else "-",
    ]


def _rate(success: Success) -> str:
    return f"{percent(success.rate)} ({success.successes}/{success.episodes})"


def _signed(share: float) -> str:
    return "unbounded" if math.isinf(share) else f"{100 * share:+.0f} %"
