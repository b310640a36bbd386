"""Rows of finished episodes on disk, and the figures made of them.

Every episode is a row of `episodes*.csv`, written when it ends; several processes write one file
each. `evaluation.json` says what was evaluated and how, so that a resumed evaluation cannot mix
two of them; `eval_results.csv` is the table in the published form.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
DESCRIPTION_FILE = "evaluation.json"
PUBLISHED_FILE = "eval_results.csv"
TIMEOUT = "timeout"  # cause of failure: the episode length was reached
FULL_REWARD = 100.0
# Success of a policy that does everything right but guesses what only the past could tell.
CHANCE = {"reopen_drawer": 1 / 3, "put_block_back": 1 / 4, "rearrange_block": 1 / 2}


class ResultsError(ValueError):
    """Stored results cannot be read or continued; the message names file and remedy."""


@dataclass(frozen=True)
class EpisodeRow:
    """How one episode ended.

    Attributes:
        task: name of the task.
        episode: number within the evaluation.
        variation: of the task; -1 if the episode never began.
        seed: of the scene; None where a demo holds the state of a random generator.
        success: 1 or 0.
        reward: 0 to 100, of the last step.
        steps: executed actions.
        failure: why it failed, empty on success.
        message: details of the failure.
        seconds: wall time, waiting for the network included.
        video: file name below the folder of the results, may be empty.
        instruction: that the policy was given.
    """

    task: str
    episode: int
    variation: int
    seed: int | None
    success: int
    reward: float
    steps: int
    failure: str = ""
    message: str = ""
    seconds: float = 0.0
    video: str = ""
    instruction: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """What tells episodes of an evaluation apart."""
        return self.task, self.episode


COLUMNS = tuple(field.name for field in dataclasses.fields(EpisodeRow))


def rows_file(rank: int = 0) -> str:
    """Name of the file that process `rank` writes."""
    return f"episodes_rank{rank}.csv" if rank else "episodes.csv"


# ---------------------------------------------------------------------------------- rows
class RowWriter:
    """Adds rows to a file, each on disk before the next episode counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: EpisodeRow) -> None:
        """Append `row`; a line that an interruption cut off before it is ended first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self.path.exists() or not self.path.stat().st_size:
            writer.writerow(COLUMNS)
        elif not self.path.read_bytes().endswith(b"\n"):
            text.write("\n")
        values = dataclasses.asdict(row) | {"message": " ".join(row.message.split())}
        writer.writerow(["" if values[name] is None else values[name] for name in COLUMNS])
        with open(self.path, "a", newline="", encoding="utf-8") as stream:
            stream.write(text.getvalue())
            stream.flush()
            os.fsync(stream.fileno())


def read_rows(folder: Path) -> list[EpisodeRow]:
    """The rows of all files of an evaluation by task and episode; the last of a key counts.

    Raises:
        ResultsError: a file has other columns, or a line that is no row.
    """
    rows: dict[tuple[str, int], EpisodeRow] = {}
    for path in sorted(folder.glob("episodes*.csv")):
        rows |= {row.key: row for row in _read_file(path)}
    return sorted(rows.values(), key=lambda row: row.key)


def _read_file(path: Path) -> list[EpisodeRow]:
    text = path.read_text(encoding="utf-8")
    lines = list(csv.reader(io.StringIO(text)))
    if not lines:
        return []
    if tuple(lines[0]) != COLUMNS:
        raise ResultsError(
            f"{path}: the columns are {', '.join(lines[0])}, expected {', '.join(COLUMNS)}; it was "
            "not written by this version of eval.py: choose another --log-name"
        )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            rows.append(_parse(line))
        except ValueError as error:
            if len(line) < len(COLUMNS):  # cut off by an interruption: that episode is run again
                continue
            raise ResultsError(f"{path}, line {number}: {error}; remove that line") from error
    return rows


def _parse(line: Sequence[str]) -> EpisodeRow:
    values = dict(zip(COLUMNS, line, strict=True))
    return EpisodeRow(
        task=values["task"],
        episode=int(values["episode"]),
        variation=int(values["variation"]),
        seed=int(values["seed"]) if values["seed"] else None,
        success=int(values["success"]),
        reward=float(values["reward"]),
        steps=int(values["steps"]),
        failure=values["failure"],
        message=values["message"],
        seconds=float(values["seconds"]),
        video=values["video"],
        instruction=values["instruction"],
    )


# --------------------------------------------------------------------------- description
# What may differ between an evaluation and its continuation.
_FREE = ("tasks", "eval_episodes", "start_episode", "workers", "time_limit", "save_video")


def describe(folder: Path, description: Mapping[str, Any]) -> None:
    """Store what is evaluated; an evaluation that lies there already must be the same one.

    Raises:
        ResultsError: other settings or another checkpoint.
    """
    path = folder / DESCRIPTION_FILE
    stored = read_description(folder) if path.exists() else {}
    if stored:
        for part in ("settings", "checkpoint"):
            _compare(path, part, stored.get(part) or {}, description.get(part) or {})
    merged = {**description, **stored}
    merged["chance"] = stored.get("chance", {}) | description["chance"]
    write_text(path, json.dumps(merged, indent=1) + "\n")


def _compare(path: Path, part: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in sorted(set(before) | set(now)):
        if key not in _FREE and before.get(key) != now.get(key):
            raise ResultsError(
                f"{path}: these results have {part} {key} {before.get(key)!r}, now it is "
                f"{now.get(key)!r}; choose another --log-name"
            )


def read_description(folder: Path) -> dict[str, Any]:
    """What `describe` stored.

    Raises:
        ResultsError: the file is absent or damaged.
    """
    path = folder / DESCRIPTION_FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {error}; evaluate again") from error


# --------------------------------------------------------------------------------- figures
@dataclass(frozen=True)
class TaskSummary:
    """Figures of one task; rates in percent."""

    task: str
    episodes: int
    success_rate: float
    standard_error: float
    mean_steps: float
    total_steps: int
    chance: float | None


def summarise(rows: Iterable[EpisodeRow]) -> list[TaskSummary]:
    """Figures per task, in the order in which tasks first occur; one episode is enough."""
    by_task: dict[str, list[EpisodeRow]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    return [_summary(task, group) for task, group in by_task.items()]


def _summary(task: str, rows: Sequence[EpisodeRow]) -> TaskSummary:
    rate = statistics.fmean(row.reward for row in rows)
    share = statistics.fmean(row.success for row in rows)
    return TaskSummary(
        task=task,
        episodes=len(rows),
        success_rate=rate,
        standard_error=100 * math.sqrt(share * (1 - share) / len(rows)),
        mean_steps=statistics.fmean(row.steps for row in rows),
        total_steps=sum(row.steps for row in rows),
        chance=100 * CHANCE[task] if task in CHANCE else None,
    )


def write_published_table(folder: Path, summaries: Sequence[TaskSummary]) -> None:
    """`eval_results.csv`: a line per task, then the mean of the success rates.

    Other than published, `total_transitions` counts the steps of the task alone, not all steps
    since the program began, and writing again replaces the table.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", "success rate", "length", "total_transitions"])
    for s in summaries:
        writer.writerow([s.task, s.success_rate, s.mean_steps, s.total_steps])
    if summaries:
        writer.writerow(["average", statistics.fmean(s.success_rate for s in summaries), "", ""])
    write_text(folder / PUBLISHED_FILE, text.getvalue())


def table_text(summaries: Sequence[TaskSummary]) -> str:
    """The figures for the console."""
    lines = [f"{'task':30s} {'success':>16s} {'episodes':>9s} {'steps':>6s} {'chance':>7s}"]
    for s in summaries:
        chance = "" if s.chance is None else f"{s.chance:.0f} %"
        lines.append(
            f"{s.task:30s} {s.success_rate:7.1f} ± {s.standard_error:4.1f} % {s.episodes:9d} "
            f"{s.mean_steps:6.1f} {chance:>7s}"
        )
    if len(summaries) > 1:
        mean = statistics.fmean(s.success_rate for s in summaries)
        lines.append(f"{'average':30s} {mean:7.1f} %")
    return "\n".join(lines)


def write_text(path: Path, text: str) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
