"""`--executor` of eval.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.eval_runs import FRESH, TASK, evaluate, make_run_folder, rows_of


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("runs") / "sam2act_x")


def flags(*more: object) -> tuple[object, ...]:
    chosen = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    return (*chosen, "--episode-length", 1, *more)


def test_an_executor_acts_and_binds_the_results(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--executor", "moving_average(2)", "--log-name", "mean")
    assert evaluate(run_folder, *flags(*chosen)) == 0
    assert len(rows_of(run_folder, "mean", "model_1")) == 1
    assert evaluate(run_folder, *flags("--resume", "--log-name", "mean")) == 2
    assert "executor 'moving_average(2)', now it is 'single'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ("open_loop(k=2)", "k=2, but the policy predicts 1 action at a time"),
        ("openloop(1)", "'openloop' is not one of single, open_loop"),
    ],
)
def test_an_impossible_executor_is_one_line(
    run_folder: Path, capsys: pytest.CaptureFixture[str], executor: str, message: str
) -> None:
    assert evaluate(run_folder, *flags("--executor", executor, "--log-name", "no")) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "executor" in line]
    assert len(errors) == 1 and message in errors[0]
