"""The report's table of perturbations."""

from __future__ import annotations

from pathlib import Path

from sam2act.cli import report
from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports.page import Page
from sam2act.reports.perturbed import add_perturbed
from tests.evaluation.evaluated_runs import (
    episodes,
    write_description,
    write_evaluation,
    write_rows,
)

DARK = {"settings": {"perturb": ["light_color"]}}


def made(run: Path) -> str:
    """The part of the page of a run folder about perturbations."""
    page = Page("title")
    add_perturbed(page, collect_methods([Source(run)]))
    return "".join(page.parts[1:])


def test_table_has_the_relative_change_with_its_interval(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1" * 20 + "0" * 5, "test")
    assert made(tmp_path) == "", "nothing was perturbed"
    write_evaluation(tmp_path, "model_last", "1" * 10 + "0" * 15, "dark", **DARK)
    page = made(tmp_path)
    for text in ("80 % (20/25)", "40 % (10/25)", "-50 %", "light_color"):
        assert text in page, text
    low, high = page.split("-50 %")[1].split("<td")[1].split(">")[1].split(" to ")
    assert -100 < int(low.removesuffix(" %")) < -50 < int(high.split(" %")[0]) < 0


def test_missing_reference_is_asked_for(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "10", "dark", **DARK)
    page = made(tmp_path)
    assert "no unperturbed evaluation" in page and "without --perturb" in page
    assert "<table" not in page


def test_reports_show_it_instead_of_a_warning(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "11", "test")
    write_evaluation(tmp_path, "model_last", "10", "dark", **DARK)
    assert report.main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Effect of perturbations" in page and "-50 %" in page
    assert "different perturb" not in page


def test_tasks_under_an_index_of_the_colosseum_are_compared_with_index_0(tmp_path: Path) -> None:
    for task, wins in (("open_drawer_0", 20), ("open_drawer_8", 10), ("stack_cups_8", 25)):
        folder = tmp_path / "eval" / task / "model_last"
        write_description(folder, settings={"tasks": [task]})
        write_rows(folder, episodes("1" * wins + "0" * (25 - wins), task))
    page = made(tmp_path)
    assert page.count("<tr") == 2, "stack_cups was not evaluated under index 0"
    for text in ("light_color (index 8)", "80 % (20/25)", "40 % (10/25)", "-50 %"):
        assert text in page, text
