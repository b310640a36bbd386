"""Table and page of a comparison, from results made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sam2act.evaluation.results import Acting
from sam2act.experiments.cells import Cell, make_cells
from sam2act.experiments.presets import Preset
from sam2act.experiments.results import PresetResults, read_results
from sam2act.reports.compared import comparison_page, comparison_table, headline, write_table
from sam2act.reports.marks import axis_ticks, cost_panel, decimal_steps, signed
from tests.cli.report_pages import Reader
from tests.evaluation.evaluated_runs import episode, write_rows
from tests.experiments.made_cells import ONE, PLUS, settings, write_cell

TASKS = ("put_block_back", "rearrange_block")
OUTCOMES = {  # preset, task -> of seeds 0 and 1
    ("one", TASKS[0]): ("1000", "0000"),
    ("one", TASKS[1]): ("1100", "1100"),
    ("one_plus", TASKS[0]): ("1111", "1110"),
    ("one_plus", TASKS[1]): ("1111", "1111"),
}


def write_cells(folder: Path) -> list[Cell]:
    cells = make_cells([ONE, PLUS], TASKS, (0, 1), settings(folder))
    for cell in cells:
        outcomes = OUTCOMES[cell.preset.name, cell.task][cell.seed]
        plus = cell.preset is PLUS
        parameters, latency = (2_500_000, 0.25) if plus else (800_000, 0.05)
        write_cell(cell, outcomes, parameters=parameters, latency=latency)
    return cells


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    return write_cells(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def results(cells: list[Cell]) -> list[PresetResults]:
    return read_results(cells)


def test_figures_of_the_table(results: list[PresetResults], tmp_path: Path) -> None:
    header, rows = comparison_table(results)
    plain, plus = (dict(zip(header, row, strict=True)) for row in rows)
    assert (plain["preset"], plus["preset"]) == ("one", "one_plus")
    assert (plain["put_block_back"], plus["put_block_back"]) == ("12.5 %", "87.5 %")
    assert (plain["mean"], plus["mean"]) == ("31.2 %", "93.8 %")
    assert plain["episodes"] == "16" and plain["95 % interval"] == "14.2 to 55.6"
    assert plain["over seeds"] == "31.2 ± 8.8"  # 37.5 and 25
    assert (plain["parameters"], plain["of them trained"]) == ("800 k", "400 k")
    assert (plain["samples/s"], plain["peak memory"]) == ("21", "512 MiB")
    assert (plain["latency"], plus["latency"]) == ("50 ms", "250 ms")
    assert (plain["training time"], plus["training time"]) == ("1 min", "2 min"), "both stages"
    assert plain["steps per episode"] == "20.6"  # (5 * 11 + 11 * 25) / 16
    assert not [title for title in header if "passes" in title], "no evaluation tells"
    write_table(tmp_path / "table.csv", results)
    with open(tmp_path / "table.csv", newline="") as stream:
        assert list(csv.reader(stream)) == [header, *rows]


def test_the_page_shows_success_differences_and_costs(
    results: list[PresetResults], tmp_path: Path
) -> None:
    page = comparison_page(
        "A comparison", results, reference="one", notes=["Failed: <it>"], commands="sam2act demos"
    )
    page.write(tmp_path / "page.html")
    read = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "A comparison" in read.texts and read.text("Failed: <it>")
    headings = ["Success", "Difference from one on equal scenes", "Success against cost"]
    assert [text for text in read.texts if text in headings] == headings
    labels = [value for _, name, value in read.attributes if name == "aria-label"]
    assert "one_plus: 93.8 % (15/16)" in labels and "one: 12.5 % (1/8)" in labels
    # Ten scenes that only the second one solved: 2 / 2^10; in a task 6 and 4.
    assert "one_plus: +62, p\u00a0=\u00a00.002" in labels
    assert "one_plus: +75, p\u00a0=\u00a00.031" in labels
    assert "one_plus: +50, p\u00a0=\u00a00.12" in labels
    assert "latency: one 31 %; one_plus 94 %" in labels
    assert read.table("preset", *TASKS)[0][0] == "one"
    assert not [text for text in read.texts if text.startswith("Beware")]
    assert "sam2act demos" in read.texts


def test_costs_of_acting_are_shown_where_an_evaluation_tells(tmp_path: Path) -> None:
    cells = make_cells([ONE, PLUS], TASKS[:1], (0,), settings(tmp_path))
    for cell in cells:
        write_cell(cell, "1010")
    for number, acting in enumerate((Acting(8, 0.25, 2.0), Acting(25, 0.75, 6.0))):
        row = episode(TASKS[0], number, number, acting=acting)
        write_rows(cells[1].results, [row], rank=1)
    results = read_results(cells)
    header, rows = comparison_table(results)
    old, new = (dict(zip(header, row, strict=True)) for row in rows)
    assert new["forward passes per episode"] == "16.5"
    assert new["policy time per episode"] == "500 ms"
    assert new["simulator time per episode"] == "4 s"
    assert old["forward passes per episode"] == old["simulator time per episode"] == "-"
    comparison_page("Acting", results, reference="one").write(tmp_path / "page.html")
    read = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    labels = [value for _, name, value in read.attributes if name == "aria-label"]
    assert "forward passes per episode: one_plus 50 %" in labels
    assert read.table("preset", "success", "steps")[1][3:] == ["16.5", "500 ms", "4 s"]
    assert read.text("A forward pass is a prediction")


def test_the_headline_names_the_best_one(results: list[PresetResults]) -> None:
    plain, plus = results
    text = headline(results, plain)
    assert text.startswith("one_plus succeeds most often: 93.8 % on 2 tasks. On equal scenes")
    assert "+62 points against one " in text
    assert headline(results, plus) == "one_plus succeeds most often: 93.8 % on 2 tasks."


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [("00", "No preset solves an episode"), ("10", "one and one_plus succeed most often: 50 %")],
)
def test_the_headline_names_nobody_alone_where_none_is_best(
    tmp_path: Path, outcomes: str, said: str
) -> None:
    cells = make_cells([ONE, PLUS], TASKS[:1], (0,), settings(tmp_path))
    for cell in cells:
        write_cell(cell, outcomes, parameters=1, latency=1.0)
    results = read_results(cells)
    assert headline(results, results[0]).startswith(said)


def test_pairs_need_equal_seeds_and_scenes(results: list[PresetResults]) -> None:
    plain, plus = results
    assert len(plain.pairs()) == 16 and len(plain.pairs(TASKS[0])) == 8
    assert plain.pairs().keys() == plus.pairs().keys()


def test_what_is_absent_is_left_out(tmp_path: Path) -> None:
    cells = write_cells(tmp_path)
    for cell in cells:
        cell.run.costs.unlink()
        cell.run.metrics.unlink()
        (cell.results / "latency.json").unlink()
        if cell.preset is PLUS and cell.task == TASKS[1]:
            (cell.results / "episodes.csv").unlink()
    others = make_cells([Preset("never_ran")], TASKS, (0,), settings(tmp_path))
    results = read_results([*cells, *others])
    header, rows = comparison_table(results)
    assert [row[0] for row in rows] == ["one", "one_plus"]
    plus = dict(zip(header, rows[1], strict=True))
    assert plus[TASKS[1]] == plus["mean"] == plus["latency"] == plus["parameters"] == "-"
    page = comparison_page("Half", results, reference="one")
    page.write(tmp_path / "page.html")
    read = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "Success against cost" not in read.texts
    assert read.text("Beware: not every method was evaluated on every task")


def test_first_guesses_stand_beside_success(tmp_path: Path) -> None:
    (cell,) = make_cells([ONE], TASKS[:1], (0,), settings(tmp_path))
    write_cell(cell, "1111")
    press, high = [0.0, -0.2, 0.77, 0, 0, 0, 1, 1, 0], [0.275, 0.35, 0.948, 0, 0, 0, 1, 1, 0]
    lines = [
        json.dumps({"task": TASKS[0], "episode": number, "targets": [press, high]})
        for number in range(4)
    ]
    (cell.results / "targets.jsonl").write_text("\n".join(lines) + "\n")
    results = read_results([cell])
    header, rows = comparison_table(results)
    column = header.index(f"first guess right, {TASKS[0]}")
    assert rows[0][column] == "25 %", "all go to the place of variation 0"
    comparison_page("Guesses", results, reference="one").write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "First guesses" in page and "one: 25 % (1/4)" in page


def test_axes_have_round_figures() -> None:
    steps = decimal_steps(1e-3, 1e3)
    assert axis_ticks([0.03, 0.4], steps) == pytest.approx([0.02, 0.1, 0.5])
    assert axis_ticks([0.2], (0.2, 0.5)) == [0.2]
    assert axis_ticks([7.0], ()) == [7.0]
    assert cost_panel("none", [], [(1.0, "1")]).count("<circle") == 0
    assert [signed(share) for share in (0.004, -0.2, 0.371)] == ["0", "-20", "+37"]
