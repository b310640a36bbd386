"""The part of the report about graded rewards: mean scores beside figures that are known."""

from __future__ import annotations

from collections.abc import Sequence

from sam2act.core.tasks import REFERENCE_SCORES
from sam2act.evaluation.analysis.aggregate import Score, mean_score, tasks_of
from sam2act.evaluation.analysis.methods import Method
from sam2act.evaluation.results import FULL_REWARD
from sam2act.reports.bars import BAR_COLORS, Bar, BarGroup, bar_chart
from sam2act.reports.page import Page

REFERENCE_COLOR = "#c3cad2"
EXPLANATION = (
    "Score: mean over the episodes of the reward with which they ended, 1 for a full one; in PushT "
    "that is the largest covered share of the target, over 95 % of it. Interval: 2.5 % to 97.5 % "
    "of the means of {draws} draws of as many episodes, with replacement, from those that were run."
)


def is_graded(methods: Sequence[Method]) -> bool:
    """Whether rewards say more than success and failure."""
    return any(row.reward not in (0.0, FULL_REWARD) for m in methods for row in m.rows)


def add_scores(page: Page, methods: Sequence[Method]) -> None:
    """Mean scores per task with their intervals, as bars unless a simulator counts otherwise than
    from 0 to 1; nothing where rewards are not graded."""
    if not is_graded(methods):
        return
    page.heading("Scores")
    if all(0 <= row.reward <= FULL_REWARD for method in methods for row in method.rows):
        page.markup(bar_chart(score_groups(methods), label="{:g}".format))
    page.table(*score_table(methods), texts=(0, 1))
    page.text(EXPLANATION.format(draws=Score.DRAWS))


def score_groups(methods: Sequence[Method]) -> list[BarGroup]:
    """A group of bars per task, known figures below those of the methods."""
    groups = []
    for task in tasks_of(method.rows for method in methods):
        bars = [
            Bar(m.label, s.mean, s.interval, f"{s.mean:.3f}", BAR_COLORS[i % len(BAR_COLORS)])
            for i, m in enumerate(methods)
            if (s := mean_score(m.rows, task)) is not None
        ]
        known = REFERENCE_SCORES.get(task, {}).items()
        bars += [Bar(n, v, (v, v), f"{v:.3f}", REFERENCE_COLOR) for n, v in known]
        groups.append(BarGroup(task, bars))
    return groups


def score_table(methods: Sequence[Method]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: every task with its methods, then its known figures."""
    header = ["task", "method", "score", "95 % interval", "episodes"]
    rows = []
    for task in tasks_of(method.rows for method in methods):
        for method in methods:
            score = mean_score(method.rows, task)
            if score is not None:
                low, high = score.interval
                figures = (f"{score.mean:.3f}", f"{low:.3f} to {high:.3f}", str(score.episodes))
                rows.append([task, method.label, *figures])
        known = REFERENCE_SCORES.get(task, {}).items()
        rows += [[task, f"known: {name}", f"{value:.3f}", "-", "-"] for name, value in known]
    return header, rows
