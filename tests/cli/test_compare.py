"""`sam2act compare`: two presets with their real commands, run in this process."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sam2act.cli import main as commands
from sam2act.cli.compare import main
from sam2act.evaluation.results import read_rows
from sam2act.experiments import run
from tests.in_process import Done, run_main

TASK = "put_block_back"
FLAGS = (
    *("--presets", "tiny", "tiny_plus", "--tasks", TASK, "--device", "cpu", "--workers", "1"),
    *("--demos", "2", "--episodes", "1", "--episode-length", "2"),
    *("--exp-cfg-opts", "epochs 1 train_iter 8 bs 4"),
    *("--plus-cfg-opts", "train_iter 12 bs 12"),
    *("--mvt-cfg-opts", "depth 2 data.points 512"),
)
RUNS = (("tiny", "model_last"), ("tiny_plus", "model_plus_last"))


def compare(folder: Path, *flags: str) -> Done:
    return run_main(main, *FLAGS, "--output", folder, *flags)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done, list[str]]:
    """The folder, how the command ended, and the commands of the cells."""
    folder = tmp_path_factory.mktemp("comparison")
    ran: list[str] = []

    def in_process(step, *_: object, log: Path, environment: object) -> int:
        ran.append(step.command[3])
        done = run_main(commands.main, *step.command[3:])
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        return done.returncode

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run", in_process)
        done = compare(folder)
    return folder, done, ran


def test_two_presets_are_trained_and_evaluated(compared: tuple[Path, Done, list[str]]) -> None:
    folder, done, ran = compared
    assert done.returncode == 0, done.stderr + done.stdout
    assert ran == ["demos", "train", "eval", "train-plus", "eval"]
    with open(folder / "comparison.csv", newline="") as stream:
        plain, plus = csv.DictReader(stream)
    assert (plain["preset"], plus["preset"]) == ("tiny", "tiny_plus")
    for row in (plain, plus):
        assert row["episodes"] == "1" and row["latency"].endswith(("ms", " s"))
        assert row["peak memory"].endswith("iB") and float(row["samples/s"]) > 0
        assert row["forward passes per episode"] == row["steps per episode"], "one per keyframe"
    assert plain["parameters"] != plus["parameters"]
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "2 presets on 1 task, 1 seed" in page and "Success against cost" in page
    assert "tiny_plus" in done.stdout and "comparison.html" in done.stdout


def test_every_cell_holds_eval_info(compared: tuple[Path, Done, list[str]]) -> None:
    for preset, stem in RUNS:
        results = compared[0] / "runs" / preset / f"{TASK}_seed0" / "eval" / "compare" / stem
        info = json.loads((results / "eval_info.json").read_text())
        (row,) = read_rows(results)
        assert info["per_episode"][0]["success"] == bool(row.success)
        assert info["per_episode"][0]["seed"] == row.seed
        assert info["aggregated"]["pc_success"] == info["overall"]["pc_success"]
        assert info["per_task"][0]["task_group"] == TASK


def test_again_nothing_runs_and_cells_can_be_described(
    compared: tuple[Path, Done, list[str]],
) -> None:
    folder = compared[0]
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    done = compare(folder)  # would start processes, if there were anything to do
    assert done.returncode == 0 and "2 of 2 cells are complete already" in done.stdout
    assert (folder / "comparison.html").read_text(encoding="utf-8") == page
    described = compare(folder, "--seeds", "2", "--describe")
    assert f"tiny_plus, {TASK}, seed 0: complete" in described.stdout
    assert f"tiny, {TASK}, seed 1: missing" in described.stdout
    assert "4 cells, 2 complete" in described.stdout and "sam2act train-plus" in described.stdout


def test_a_failing_cell_is_named_on_the_page(
    compared: tuple[Path, Done, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = compared[0]

    def fail(step, *_: object, log: Path, environment: object) -> int:
        log.write_text("loading\nOSError: no room\n")
        return 2

    monkeypatch.setattr(run, "run", fail)
    done = compare(folder, "--seeds", "2")
    assert done.returncode == 1
    assert done.stderr.count("exit status 2: OSError: no room") == 2
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert page.count("Failed: ") == 2 and "OSError: no room" in page
    assert run_main(main, "--list").stdout.split().count("tiny_plus") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--presets", "tinny"), "--presets tinny: no pair of configs/tinny.yaml"),
        (("--presets", "tiny@opn_loop"), "executor: 'opn_loop'"),
        (("--tasks", "open_drawr"), "--tasks: "),
        (("--reference", "sam2act"), "--reference sam2act is none of the presets"),
        (("--minutes", "0"), "--minutes 0: not a positive number"),
        (("--shard", "4/4"), "numbered from 0 to 3"),
        (("--shard", "x"), "write I/N"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    done = compare(tmp_path, *flags)
    assert done.returncode == 2 and message in done.stderr
    assert not list(tmp_path.iterdir())
