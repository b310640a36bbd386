"""Statistics over finished episodes: success with its uncertainty, repeats, variations, causes.

Pure functions on rows; finding and grouping the rows is the job of `methods.py`. Rates are
fractions from 0 to 1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sam2act.evaluation.results import FULL_REWARD, EpisodeRow

NORMAL_QUANTILE = 1.959964  # two-sided 95 %
NO_CAUSE = "not recorded"

Run = Sequence[EpisodeRow]


@dataclass(frozen=True)
class Success:
    """How often a method succeeded, on one task or averaged over several.

    Attributes:
        successes: successful episodes.
        episodes: all finished episodes.
        rate: share of success; over several tasks the unweighted mean of their shares.
        standard_error: of `rate`.
        interval: 95 % Wilson interval of `rate`.
        mean_steps: mean number of actions per episode, unweighted over several tasks.
        run_rates: the share of each repetition.
    """

    successes: int
    episodes: int
    rate: float
    standard_error: float
    interval: tuple[float, float]
    mean_steps: float
    run_rates: tuple[float, ...]

    @property
    def run_mean(self) -> float | None:
        """Mean of the repetitions, None without any that holds all tasks."""
        return statistics.fmean(self.run_rates) if self.run_rates else None

    @property
    def run_deviation(self) -> float | None:
        """Sample standard deviation of the repetitions, None with fewer than two."""
        return statistics.stdev(self.run_rates) if len(self.run_rates) > 1 else None


@dataclass(frozen=True)
class FailureCause:
    """How many episodes failed in one way."""

    cause: str
    count: int
    example: str  # the first message that is not empty


def wilson_interval(rate: float, count: float) -> tuple[float, float]:
    """The 95 % score interval of a binomial share (Wilson 1927).

    Args:
        rate: observed share.
        count: number of trials, positive; a fraction is an effective number.

    Raises:
        ValueError: there are no trials.
    """
    if count <= 0:
        raise ValueError("a share of no episodes has no interval")
    square = NORMAL_QUANTILE**2
    center = (rate + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(rate * (1 - rate) / count + square / (4 * count**2))
    half = spread * NORMAL_QUANTILE / (1 + square / count)
    return max(0.0, center - half), min(1.0, center + half)


def tasks_of(runs: Iterable[Run]) -> list[str]:
    """Every task of the runs once, in order of appearance."""
    return list(dict.fromkeys(row.task for run in runs for row in run))


def mean_reward(rows: Run, task: str) -> float:
    """Mean over the episodes of `task` of the reward of their last step, 0 to 100."""
    return statistics.fmean(row.reward for row in rows if row.task == task)


@dataclass(frozen=True)
class Score:
    """The mean of graded rewards.

    Attributes:
        mean: from 0 to 1.
        interval: 95 % bootstrap interval of `mean`.
        episodes: how many.
    """

    DRAWS: ClassVar[int] = 10_000

    mean: float
    interval: tuple[float, float]
    episodes: int


def mean_score(rows: Run, task: str) -> Score | None:
    """Of the episodes of `task`, None without any."""
    values = [row.reward / FULL_REWARD for row in rows if row.task == task]
    if not values:
        return None
    return Score(statistics.fmean(values), bootstrap_interval(values, Score.DRAWS), len(values))


def bootstrap_interval(values: Sequence[float], draws: int) -> tuple[float, float]:
    """The 95 % percentile interval of a mean (Efron 1979), the same for the same values.

    Args:
        values: independent observations, at least one.
        draws: samples with replacement.
    """
    numbers, count = np.asarray(values, np.float64), len(values)
    chosen = np.random.default_rng(0).integers(count, size=(draws, count))
    low, high = np.quantile(numbers[chosen].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def summarise_tasks(runs: Sequence[Run]) -> dict[str, Success]:
    """Success per task over the pooled episodes of all repetitions.

    Args:
        runs: the episodes of each repetition.
    """
    return {task: _summarise([_of_task(run, task) for run in runs]) for task in tasks_of(runs)}


def average_tasks(runs: Sequence[Run]) -> Success:
    """Success averaged over tasks, each with equal weight, as published tables do.

    A repetition that lacks a task has no entry in `run_rates`. The interval takes the number of
    episodes that would give a single share the same standard error; with equally many episodes
    per task that is their total.

    Raises:
        ValueError: there are no episodes.
    """
    by_task = summarise_tasks(runs)
    if not by_task:
        raise ValueError("no episodes to average")
    tasks = list(by_task.values())
    rate = statistics.fmean(task.rate for task in tasks)
    effective = len(tasks) ** 2 / sum(1 / task.episodes for task in tasks)
    complete = [run for run in runs if len(tasks_of([run])) == len(tasks)]
    return Success(
        successes=sum(task.successes for task in tasks),
        episodes=sum(task.episodes for task in tasks),
        rate=rate,
        standard_error=math.sqrt(sum(t.standard_error**2 for t in tasks)) / len(tasks),
        interval=wilson_interval(rate, effective),
        mean_steps=statistics.fmean(task.mean_steps for task in tasks),
        run_rates=tuple(
            statistics.fmean(_rate(_of_task(run, task)) for task in by_task) for run in complete
        ),
    )


def variation_counts(rows: Run) -> dict[tuple[str, int], tuple[int, int]]:
    """(successes, episodes) per task and variation, by task in order of appearance."""
    tasks = tasks_of([rows])
    keys = sorted({(row.task, row.variation) for row in rows}, key=lambda k: (tasks.index(k[0]), k))
    members = {key: [r for r in rows if (r.task, r.variation) == key] for key in keys}
    return {key: (_successes(group), len(group)) for key, group in members.items()}


def failure_causes(rows: Run) -> list[FailureCause]:
    """The ways in which episodes failed, the most frequent one first."""
    by_cause: dict[str, list[EpisodeRow]] = {}
    for row in rows:
        if not row.success:
            by_cause.setdefault(row.failure or NO_CAUSE, []).append(row)
    causes = [
        FailureCause(cause, len(group), next((r.message for r in group if r.message), ""))
        for cause, group in by_cause.items()
    ]
    return sorted(causes, key=lambda cause: -cause.count)


def _summarise(runs: Sequence[Run]) -> Success:
    rows = [row for run in runs for row in run]
    rate = _rate(rows)
    return Success(
        successes=_successes(rows),
        episodes=len(rows),
        rate=rate,
        standard_error=math.sqrt(rate * (1 - rate) / len(rows)),
        interval=wilson_interval(rate, len(rows)),
        mean_steps=statistics.fmean(row.steps for row in rows),
        run_rates=tuple(_rate(run) for run in runs if run),
    )


def _of_task(run: Run, task: str) -> list[EpisodeRow]:
    return [row for row in run if row.task == task]


def _successes(rows: Run) -> int:
    return sum(bool(row.success) for row in rows)


def _rate(rows: Run) -> float:
    return _successes(rows) / len(rows)
