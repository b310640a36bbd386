"""The tables of one evaluation: for the console, and in the published form."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from sam2act.core.tasks import CHANCE
from sam2act.evaluation.analysis.aggregate import Success, average_tasks, summarise_tasks
from sam2act.evaluation.analysis.first_guesses import Guesses
from sam2act.evaluation.results import EpisodeRow, write_text

PUBLISHED_FILE = "eval_results.csv"


def write_published_table(folder: Path, rows: Sequence[EpisodeRow]) -> None:
    """`eval_results.csv`: a line per task, then the mean of the success rates, in percent.

    As published, `total_transitions` counts all steps so far, those of earlier tasks included.
    Other than published, writing again replaces the table.
    """
    steps = 0
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", "success rate", "length", "total_transitions"])
    for task, success in summarise_tasks([rows]).items():
        steps += sum(row.steps for row in rows if row.task == task)
        writer.writerow([task, 100 * success.rate, success.mean_steps, steps])
    writer.writerow(["average", 100 * average_tasks([rows]).rate, "", ""])
    write_text(folder / PUBLISHED_FILE, text.getvalue())


def table_text(rows: Sequence[EpisodeRow], guesses: Mapping[str, Guesses] | None = None) -> str:
    """Success with its standard error, right first guesses and their chance, for the console."""
    guesses = guesses or {}
    tasks = summarise_tasks([rows])
    lines = [
        f"{'task':30s} {'success':>16s} {'episodes':>9s} {'steps':>6s} {'chance':>7s}"
        + f" {'first guess right':>18s}" * bool(guesses)
    ]
    for task, success in tasks.items():
        lines.append(_line(task, success, CHANCE.get(task)) + _guess(guesses.get(task)))
    if len(tasks) > 1:
        lines.append(_line("average", average_tasks([rows]), None))
    return "\n".join(lines)


def _line(name: str, success: Success, chance: float | None) -> str:
    floor = "" if chance is None else f"{100 * chance:.0f} %"
    return (
        f"{name:30s} {100 * success.rate:7.1f} ± {100 * success.standard_error:4.1f} % "
        f"{success.episodes:9d} {success.mean_steps:6.1f} {floor:>7s}"
    )


def _guess(guesses: Guesses | None) -> str:
    return "" if guesses is None else f" {100 * guesses.rate:16.1f} %"
