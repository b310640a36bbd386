"""The report: right figures, and a line for what is missing or damaged."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sam2act.cli import report as report_command
from sam2act.evaluation.analysis.methods import Source
from tests.cli.report_pages import report, write_run
from tests.evaluation.evaluated_runs import (
    episode,
    episodes,
    write_description,
    write_evaluation,
    write_rows,
)
from tests.places import SCRIPTS


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "tiny_run")


# ---------------------------------------------------------------------------------- figures
def test_first_sentence_says_the_result(run: Path) -> None:
    assert report(run).text("put_block_back in") == (
        "put_block_back in the embedded simulator: successful episodes with memory (SAM2Act+) "
        "4 of 4, without memory (SAM2Act) 1 of 4; chance is 25 %."
    )


def test_right_first_guesses_are_told_beside_success(tmp_path: Path) -> None:
    press, first, third = (0.3, -0.2, 0.77), (0.27, 0.34, 0.9), (0.28, 0.02, 0.9)
    for repeat, visits in enumerate(((first, third), (third, third)), start=1):
        rows = [
            replace(row, targets=tuple((*place, *[0.0] * 6) for place in (press, visit)))
            for row, visit in zip(episodes("10"), visits, strict=True)
        ]
        folder = tmp_path / "eval" / str(repeat) / "model_last"
        write_description(folder)
        write_rows(folder, rows)
    page = report(tmp_path)
    assert "without memory (SAM2Act) 2 of 4 (first guess right: 1); " in page.page
    table = page.table("method", "success")
    assert [row[6:8] for row in table] == [["25 %", "25 % (1)"]]
    assert page.text("Success: share").count("first guess right: share of the episodes") == 1


def test_several_tasks_are_averaged(tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "none" / "model_plus_last"
    write_description(folder)
    write_rows(folder, episodes("1110") + episodes("10", "rearrange_block"))
    page = report(tmp_path)
    assert page.text("Mean success over") == (
        "Mean success over 2 tasks in the embedded simulator: with memory (SAM2Act+) 62.5 % of 6 "
        "episodes; chance is 37.5 %."
    )
    table = page.table("task", "method", "success")
    assert [row[:3] for row in table] == [
        ["put_block_back", "SAM2Act+", "75 %"],
        ["rearrange_block", "SAM2Act+", "50 %"],
        ["mean over tasks", "SAM2Act+", "62.5 %"],
    ]


def test_mean_of_chance_needs_that_of_every_task(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path, "model_last", "10")
    write_rows(folder, episodes("11", "open_drawer"), rank=1)
    page = report(tmp_path)
    assert page.text("Mean success over").endswith("without memory (SAM2Act) 75 % of 4 episodes.")
    chances = [row[-1] for row in page.table("task", "method")]
    assert sorted(chances) == ["-", "-", "25 %"]


def test_table_of_figures(run: Path) -> None:
    assert report(run).table("method", "success") == [
        ["SAM2Act", "25 %", "21.7", "4.6 to 69.9", "1/4", "21.5", "25 %"],
        ["SAM2Act+", "100 %", "0.0", "51.0 to 100.0", "4/4", "11.0", "25 %"],
    ]


def test_spread_over_repeated_evaluations(tmp_path: Path) -> None:
    for number, outcomes in ((1, "1100"), (2, "1110"), (3, "1111")):
        write_evaluation(tmp_path, "model_last", outcomes, f"test/{number}")
    (row,) = report(tmp_path).table("method", "success")
    assert row[4] == "9/12" and row[-1] == "75.0 ± 25.0 (n = 3)"


def test_trainings_with_other_seeds_are_pooled(tmp_path: Path) -> None:
    for name, outcomes in (("a", "11"), ("b", "10")):
        write_evaluation(tmp_path / name, "model_last", outcomes)
    pages = [
        report("--pool", *runs, "--output", tmp_path / "page.html")
        for runs in [(tmp_path / "a", tmp_path / "b")]
    ]
    pages.append(
        report(*(f"SAM2Act={tmp_path / name}" for name in "ab"), "--output", tmp_path / "page.html")
    )
    for page in pages:
        (row,) = page.table("method", "success")
        assert row[0] == "SAM2Act" and row[4] == "3/4" and row[-1] == "75.0 ± 35.4 (n = 2)"


def test_method_without_all_tasks_has_no_mean(run: Path) -> None:
    folder = run / "eval" / "none" / "model_plus_last"
    write_rows(folder, episodes("11", "rearrange_block"))
    page = report(run)
    means = [r for r in page.table("task", "method", "success") if r[0] == "mean over tasks"]
    assert [row[1] for row in means] == ["SAM2Act+"]
    assert "without memory (SAM2Act) 25 % of 4 episodes of 1 of these tasks" in page.text("Mean")
    assert page.text("not every method was evaluated on every task")


def test_every_variation_that_occurs_has_a_row(tmp_path: Path) -> None:
    sizes = {"put_block_back": 9}  # is not part of the format
    write_evaluation(tmp_path, "model_last", "10", variations=sizes)
    write_evaluation(tmp_path, "model_plus_last", "101", variations=sizes)
    assert report(tmp_path).table("variation") == [
        ["0", "1/1", "1/1"],
        ["1", "0/1", "0/1"],
        ["2", "-", "1/1"],
    ]


def test_causes_of_failure(run: Path) -> None:
    folder = run / "eval" / "none" / "model_plus_last"
    rows = [episode("put_block_back", 9, 0, failure="SimulatorDied", message="exit code 11")]
    write_rows(folder, rows, rank=1)
    assert report(run).table("method", "cause") == [
        ["SAM2Act", "timeout", "3", "-"],
        ["SAM2Act+", "SimulatorDied", "1", "exit code 11"],
    ]


def test_success_everywhere_is_said(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "ground_truth", "11")
    assert report(tmp_path).text("No episode failed.")


def test_bars_show_rate_and_chance(run: Path) -> None:
    page = report(run)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels[:2] == ["SAM2Act: 25 % (1/4)", "SAM2Act+: 100 % (4/4)"]
    assert page.page.count('class="chance" x1="25.00%"') == 2


# --------------------------------------------------------------------------------- remarks
def test_note_title_and_output_are_taken(run: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "new" / "page.html"
    note = "quick run: <figures> mean little"
    page = report(run, "--note", note, "--title", "My <title>", "--output", output)
    assert note in page.texts and page.texts.count("My <title>") == 2
    assert ("p", "class", "note") in page.attributes
    assert str(output) in capsys.readouterr().out and not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("backend", "text"),
    [("embedded", "not those of published tables"), ("rlbench", "RLBench with CoppeliaSim")],
)
def test_simulator_is_named(tmp_path: Path, backend: str, text: str) -> None:
    write_evaluation(tmp_path, "model_last", "1", settings={"backend": backend})
    page = report(tmp_path)
    assert page.text(text)
    assert ("embedded simulator" in page.page) == (backend == "embedded")


def test_different_conditions_are_warned_about(run: Path) -> None:
    write_evaluation(run, "ground_truth", "1", settings={"backend": "rlbench"})
    page = report(run)
    assert page.text("different backend stand side by side (embedded and rlbench)")


def test_missing_description_is_said(tmp_path: Path) -> None:
    write_rows(tmp_path / "eval" / "none" / "model_last", episodes("10"))
    page = report(tmp_path)
    assert page.text("in an unknown simulator: successful episodes without memory (SAM2Act) 1 of 2")
    assert page.text("has no evaluation.json")
    assert 'class="chance"' not in page.page


# ------------------------------------------------------------------------------- training
def test_moment_of_learning_is_found(run: Path) -> None:
    page = report(run)
    sentence = page.text("is learned last")
    assert sentence.startswith("Keyframe 1 ") and "from 1.20 to 0.05" in sentence
    assert "from update 30 on" in sentence
    assert page.table("keyframe") == [
        ["0", "0.10", "0.30", "0.10"],
        ["1", "0.91", "1.20", "0.05"],
    ]


def test_stage_two_without_stage_one(run: Path) -> None:
    (run / "metrics.csv").unlink()
    page = report(run)
    assert page.table("keyframe", "start of stage 2")[1] == ["1", "1.20", "0.05"]
    assert page.text("python -m sam2act.train writes") == (
        f"No losses of tiny_run, stage 1 (SAM2Act): python -m sam2act.train writes "
        f"{run / 'metrics.csv'}."
    )


def test_what_is_missing_is_named_with_its_command(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1")
    page = report(tmp_path)
    for part in (
        "has no excess loss per keyframe; python -m sam2act.train_plus logs it",
        f"python -m sam2act.train writes {tmp_path / 'metrics.csv'}",
        f"python -m sam2act.train_plus writes {tmp_path / 'metrics_plus.csv'}",
        "No episode was filmed; with --save-video it is: python -m sam2act.eval",
        f"No readable args.yaml in {tmp_path}",
        "No exp_cfg_plus.yaml and mvt_cfg_plus.yaml: python -m sam2act.train_plus",
    ):
        assert page.text(part)


# --------------------------------------------------------------------------------- errors
def test_label_is_split_from_the_folder(tmp_path: Path) -> None:
    parse = report_command.source
    assert parse("ours=runs/a") == Source(Path("runs/a"), "ours")
    assert parse("runs/a") == Source(Path("runs/a"))
    assert parse("ours=runs/lr=1") == Source(Path("runs/lr=1"), "ours")
    (tmp_path / "lr=1").mkdir()
    assert parse(str(tmp_path / "lr=1")) == Source(tmp_path / "lr=1")


def break_rows(run: Path) -> str:
    path = run / "eval" / "none" / "model_last" / "episodes.csv"
    path.write_text(path.read_text().replace("put_block_back,2,", "put_block_back,two,"))
    return f"{path}, line 4: "


def break_metrics(run: Path) -> str:
    (run / "metrics_plus.csv").write_text("step,loss\n1,high\n")
    return f"{run / 'metrics_plus.csv'}, row 2: "


def break_configuration(run: Path) -> str:
    (run / "exp_cfg.yaml").write_text("no_such_key: 1\n")
    return f"{run / 'exp_cfg.yaml'}: unknown key no_such_key"


def break_description(run: Path) -> str:
    path = run / "eval" / "none" / "model_last" / "evaluation.json"
    path.write_text("{")
    return f"{path} cannot be read"


@pytest.mark.parametrize(
    "damage", [break_rows, break_metrics, break_configuration, break_description]
)
def test_damaged_files_are_named(run: Path, damage, capsys) -> None:
    expected = damage(run)
    assert report_command.main([str(run)]) == 2
    assert expected in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_script_runs_from_anywhere_and_names_what_is_absent(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "run", "model_last", "10")
    command = [sys.executable, str(SCRIPTS / "report.py")]
    done = subprocess.run([*command, "run"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 of 2" in done.stdout and (tmp_path / "run" / "report.html").is_file()
    done = subprocess.run([*command, "nowhere"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "ResultsError: nowhere: no such run folder"
