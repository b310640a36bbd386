"""Success rates, their uncertainty over episodes and over runs, causes of failure."""

from __future__ import annotations

import math

import pytest

from sam2act.evaluation.analysis.aggregate import (
    FailureCause,
    average_tasks,
    failure_causes,
    summarise_tasks,
    tasks_of,
    variation_counts,
    wilson_interval,
)
from sam2act.evaluation.results import EpisodeRow


def row(task: str, episode: int, success: int, **values) -> EpisodeRow:
    given = {"variation": 0, "seed": 1, "reward": 100.0 * success, "steps": 10, **values}
    return EpisodeRow(task=task, episode=episode, success=success, **given)


def run(task: str, outcomes: str) -> list[EpisodeRow]:
    """A row per letter: 1 success, 0 failure."""
    return [row(task, index, int(letter)) for index, letter in enumerate(outcomes)]


# ------------------------------------------------------------------------------- intervals
@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [  # Newcombe 1998 (Statistics in Medicine 17), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval_equals_published_values(successes, count, low, high) -> None:
    assert wilson_interval(successes / count, count) == pytest.approx((low, high), abs=5e-5)


def test_interval_of_all_successes_has_a_width() -> None:
    low, high = wilson_interval(1.0, 20)
    assert (low, high) == (pytest.approx(1 - 0.1611, abs=5e-5), 1.0)


def test_interval_needs_episodes() -> None:
    with pytest.raises(ValueError, match="no episodes"):
        wilson_interval(0.5, 0)


# ------------------------------------------------------------------------------- one task
def test_episodes_of_all_runs_are_pooled() -> None:
    rows = [row("a", 0, 1, steps=4), row("a", 1, 1, steps=6), row("a", 2, 0, steps=25)]
    success = summarise_tasks([rows, run("a", "0")])["a"]
    assert (success.successes, success.episodes, success.rate) == (2, 4, 0.5)
    assert success.standard_error == pytest.approx(0.25)
    assert success.mean_steps == pytest.approx((4 + 6 + 25 + 10) / 4)
    assert success.interval == wilson_interval(0.5, 4)


def test_spread_over_runs_is_the_sample_deviation_of_their_rates() -> None:
    success = summarise_tasks([run("a", "1100"), run("a", "1110"), run("a", "1111")])["a"]
    assert success.run_rates == (0.5, 0.75, 1.0)
    assert success.run_mean == pytest.approx(0.75)
    assert success.run_deviation == pytest.approx(0.25)


def test_single_run_has_no_spread() -> None:
    success = summarise_tasks([run("a", "10")])["a"]
    assert success.run_mean == 0.5 and success.run_deviation is None


def test_run_without_the_task_is_no_repetition_of_it() -> None:
    summaries = summarise_tasks([run("a", "1") + run("b", "0"), run("a", "0")])
    assert summaries["a"].run_rates == (1.0, 0.0)
    assert summaries["b"].run_rates == (0.0,)


def test_success_is_counted_not_reward() -> None:
    rows = [row("a", 0, 0, reward=40.0), row("a", 1, 1)]
    assert summarise_tasks([rows])["a"].rate == 0.5


def test_tasks_keep_their_order_of_appearance() -> None:
    assert tasks_of([run("b", "1"), run("a", "1") + run("b", "1")]) == ["b", "a"]


# --------------------------------------------------------------------------- several tasks
def test_tasks_weigh_the_same_whatever_their_episodes() -> None:
    average = average_tasks([run("a", "1111") + run("b", "00000000")])
    assert average.rate == 0.5
    assert (average.successes, average.episodes) == (4, 12)


def test_error_of_the_average_combines_those_of_the_tasks() -> None:
    average = average_tasks([run("a", "10") + run("b", "1000")])
    expected = math.hypot(math.sqrt(0.25 / 2), math.sqrt(0.25 * 0.75 / 4)) / 2
    assert average.standard_error == pytest.approx(expected)


def test_interval_of_equally_many_episodes_is_that_of_all_together() -> None:
    average = average_tasks([run("a", "1110") + run("b", "1000")])
    assert average.interval == pytest.approx(wilson_interval(0.5, 8))
    uneven = average_tasks([run("a", "10") + run("b", "10" * 50)])
    assert uneven.interval == pytest.approx(wilson_interval(0.5, 4 / (1 / 2 + 1 / 100)))


def test_average_per_run_needs_all_tasks() -> None:
    complete = run("a", "11") + run("b", "00")
    average = average_tasks([complete, run("a", "1"), run("a", "1") + run("b", "1")])
    assert average.run_rates == (0.5, 1.0)


def test_nothing_has_no_average() -> None:
    with pytest.raises(ValueError, match="no episodes"):
        average_tasks([])


# ---------------------------------------------------------------------------- breakdowns
def test_variations_are_counted_per_task() -> None:
    rows = [row("b", i, s, variation=v) for i, (v, s) in enumerate([(2, 1), (0, 0), (2, 0)])]
    rows += [row("a", 0, 1, variation=-1)]
    counts = variation_counts(rows)
    assert list(counts.items()) == [(("b", 0), (0, 1)), (("b", 2), (1, 2)), (("a", -1), (1, 1))]


def test_causes_are_counted_most_frequent_first() -> None:
    rows = [
        row("a", 0, 0, failure="SimulatorDied", message="exit code 11"),
        row("a", 1, 0, failure="timeout"),
        row("b", 0, 0, failure="timeout", message="25 steps"),
        row("b", 1, 0, failure="timeout", message="later"),
        row("b", 2, 1, message="ignored, since it succeeded"),
        row("b", 3, 0),
    ]
    assert failure_causes(rows) == [
        FailureCause("timeout", 3, "25 steps"),
        FailureCause("SimulatorDied", 1, "exit code 11"),
        FailureCause("not recorded", 1, ""),
    ]
