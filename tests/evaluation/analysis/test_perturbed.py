"""The relative change of success under a perturbation: the pairs, the figure, its interval."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sam2act.evaluation.analysis.aggregate import average_tasks
from sam2act.evaluation.analysis.comparison import differing_settings
from sam2act.evaluation.analysis.methods import Method, Source, collect_methods
from sam2act.evaluation.analysis.perturbed import (
    ratio_interval,
    relative_changes,
    without_reference,
)
from tests.evaluation.evaluated_runs import (
    episodes,
    write_description,
    write_evaluation,
    write_rows,
)

DARK = {"settings": {"perturb": ["light_color"]}}


def methods_of(*runs: Path, **options: bool) -> list[Method]:
    return collect_methods([Source(run) for run in runs], **options)


def success(outcomes: str):
    return average_tasks([episodes(outcomes)])


# --------------------------------------------------------------------------------- interval
@pytest.mark.parametrize("counts", [(10, 20), (24, 25), (1, 24), (13, 3), (25, 25), (0, 20)])
def test_interval_solves_its_equations(counts: tuple[int, int]) -> None:
    """At its ends the distance of the rates is that of their intervals, in quadrature."""
    above, below = (success("1" * count + "0" * (25 - count)) for count in counts)
    low, high = ratio_interval(above, below)
    assert low <= above.rate / below.rate <= high
    for ratio, end, other in (
        (low, above.interval[0], below.interval[1]),
        (high, above.interval[1], below.interval[0]),
    ):
        distance = (above.rate - ratio * below.rate) ** 2
        spread = (above.rate - end) ** 2 + ratio**2 * (other - below.rate) ** 2
        assert distance == pytest.approx(spread, abs=1e-12)


def test_interval_without_any_success_below_is_unbounded() -> None:
    low, high = ratio_interval(success("1110"), success("0000"))
    assert low >= 0 and math.isinf(high)


# --------------------------------------------------------------------------------- pairing
def test_change_is_relative_to_the_same_checkpoint_without_perturbation(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1" * 8 + "00", "test")
    write_evaluation(tmp_path, "model_last", "1" * 6 + "0000", "dark", **DARK)
    write_evaluation(tmp_path, "model_plus_last", "1" * 10, "test")
    write_evaluation(tmp_path, "model_plus_last", "1" * 9 + "0", "dark", **DARK)
    changes = relative_changes(methods_of(tmp_path))
    assert [(c.method, c.perturbation) for c in changes] == [
        ("SAM2Act, dark, light_color", "light_color"),
        ("SAM2Act+, dark, light_color", "light_color"),
    ]
    assert [c.change for c in changes] == pytest.approx([-0.25, -0.1])
    assert all(c.interval[0] < c.change < c.interval[1] for c in changes)
    assert without_reference(methods_of(tmp_path)) == []
    assert differing_settings(methods_of(tmp_path)) == {}


def test_factors_of_one_series_are_not_pooled(tmp_path: Path) -> None:
    for number, perturb in enumerate(([], ["light_color"], ["table_color"]), start=1):
        write_evaluation(
            tmp_path, "model_last", "1" * number + "0", f"x/{number}", settings={"perturb": perturb}
        )
    methods = methods_of(tmp_path)
    assert {m.label: len(m.rows) for m in methods} == {
        "SAM2Act": 2,
        "SAM2Act, light_color": 3,
        "SAM2Act, table_color": 4,
    }
    assert [c.change for c in relative_changes(methods)] == pytest.approx([1 / 3, 1 / 2])


def test_repetitions_and_trainings_count_together(tmp_path: Path) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]
    for run, plain, dark in zip(runs, ("11", "10"), ("10", "00"), strict=True):
        write_evaluation(run, "model_last", plain, "test")
        write_evaluation(run, "model_last", dark, "dark", **DARK)
    (change,) = relative_changes(methods_of(*runs, pool=True))
    assert change.change == pytest.approx(1 / 3 - 1)
    assert (change.plain.episodes, change.perturbed.episodes) == (4, 4)


def test_without_an_unperturbed_evaluation_there_is_no_change(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "10", "dark", **DARK)
    write_evaluation(tmp_path, "model_plus_last", "11", "test")
    methods = methods_of(tmp_path)
    assert relative_changes(methods) == []
    assert without_reference(methods) == ["SAM2Act, light_color"]


def test_tasks_that_the_factor_leaves_alone_do_not_count(tmp_path: Path) -> None:
    tasks = ["put_block_back", "rearrange_block"]
    for name, outcomes in (("test", ("11", "11")), ("dark", ("10", "11"))):
        folder = tmp_path / "eval" / name / "model_last"
        perturb = ["object_color"] if name == "dark" else []
        settings = {"tasks": tasks, "eval_episodes": 2, "perturb": perturb}
        acting = {tasks[0]: ["object_color"], tasks[1]: []} if perturb else {}
        write_description(folder, settings=settings, perturbed=acting)
        rows = [
            row for task, text in zip(tasks, outcomes, strict=True) for row in episodes(text, task)
        ]
        write_rows(folder, rows)
    (change,) = relative_changes(methods_of(tmp_path))
    assert change.tasks == ("put_block_back",)
    assert change.change == pytest.approx(-0.5)
    assert change.plain.episodes == 2


def test_nothing_succeeds_without_perturbation(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "00", "test")
    write_evaluation(tmp_path, "model_last", "10", "dark", **DARK)
    (change,) = relative_changes(methods_of(tmp_path))
    assert change.change is None
