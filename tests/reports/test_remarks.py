"""What the page of a report warns about, before its figures."""

from __future__ import annotations

from pathlib import Path

from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports import remarks
from tests.evaluation.evaluated_runs import write_evaluation


def warnings(run: Path) -> list[str]:
    """The warnings of the page about one run folder."""
    return remarks.warnings(collect_methods([Source(run)]))


def test_finished_evaluations_on_the_same_scenes_need_no_warning(tmp_path: Path) -> None:
    for stem in ("model_last", "model_plus_last"):
        for number in (1, 2):
            settings = {"seed": number}
            write_evaluation(tmp_path, stem, "1100", f"test/{number}", settings=settings)
    assert warnings(tmp_path) == []


def test_unfinished_evaluation_is_named(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "0" * 9, settings={"eval_episodes": 40})
    (text,) = warnings(tmp_path)
    assert "SAM2Act has finished 9 of 40 episodes" in text and "--resume" in text


def test_repetitions_on_the_same_scenes_are_named(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_evaluation(tmp_path, "model_last", "10", f"test/{number}")
    (text,) = warnings(tmp_path)
    assert "for SAM2Act the same scenes were evaluated 3 times" in text
    assert "count them once" in text


def test_methods_on_other_scenes_are_named(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "10", settings={"seed": 1})
    write_evaluation(tmp_path, "model_plus_last", "11", settings={"seed": 2})
    (text,) = warnings(tmp_path)
    assert "SAM2Act and SAM2Act+ were evaluated on different scenes (put_block_back)" in text
