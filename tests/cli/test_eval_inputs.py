"""What eval.py looks at before its first episode, and what it says of lost ones at the end."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from sam2act.cli import evaluate as program
from sam2act.config.load import load_experiment, load_network
from sam2act.data.rlbench.demo_folders import EPISODES_FOLDER
from sam2act.evaluation.analysis.methods import find_evaluations
from sam2act.evaluation.results import EpisodeRow, RowWriter, read_description, read_rows
from sam2act.evaluation.run import Outcome
from sam2act.policies.checkpoint import build_policy, config_extra, save_checkpoint
from tests.cli.eval_runs import FRESH, SIZES, TASK, evaluate, make_demos, make_run_folder, rows_of


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("runs") / "x")


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demos(tmp_path_factory.mktemp("data") / "test")


def spoil(demos: Path, folder: Path, number: int) -> Path:
    """A copy of the demos, one of them cut off."""
    copy = Path(shutil.copytree(demos, folder / "spoiled"))
    path = copy / TASK / EPISODES_FOLDER / f"episode{number}" / "low_dim_obs.pkl"
    path.write_bytes(path.read_bytes()[:2000])
    return copy


def test_a_broken_demo_is_found_before_the_first_episode(
    run_folder: Path, demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 2)
    flags += ("--log-name", "broken", "--workers", 1, "--episode-length", 1)
    broken = ("--eval-datafolder", spoil(demos, tmp_path, 1))
    assert evaluate(run_folder, *flags, *broken) == 2
    error = capsys.readouterr().err
    assert "episode1/low_dim_obs.pkl: not a readable pickle" in error
    assert "--skip-bad-episodes" in error and "Traceback" not in error
    assert not (run_folder / "eval/broken").exists(), "nothing was written"
    # Repaired, the same command works without --resume.
    assert evaluate(run_folder, *flags, "--eval-datafolder", demos) == 0
    assert [row.episode for row in rows_of(run_folder, "broken", "model_1")] == [0, 1]


def test_broken_demos_may_be_left_out(run_folder: Path, demos: Path, tmp_path: Path) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 2)
    flags += ("--log-name", "left_out", "--workers", 1, "--episode-length", 1)
    broken = ("--eval-datafolder", spoil(demos, tmp_path, 0), "--skip-bad-episodes")
    assert evaluate(run_folder, *flags, *broken) == 0
    folder = run_folder / "eval/left_out/model_1"
    assert [row.episode for row in read_rows(folder)] == [1]
    (skipped,) = read_description(folder)["skipped"].items()
    assert skipped[0] == f"{TASK}/0" and "not a readable pickle" in skipped[1]
    (found,) = [e for e in find_evaluations(run_folder) if e.log_name == "left_out"]
    assert found.progress == (1, 1)


def test_missing_language_weights_are_noticed_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = "language.encoder clip language.weights_path absent.pt"
    experiment = load_experiment("configs/tiny.yaml", clip)
    wide = f"{SIZES} lang_len 77 lang_dim 512"
    bundle = build_policy(experiment, load_network("configs/mvt/tiny.yaml", wide), seed=1)
    content = {"model_state": bundle.model_state(), "extra": config_extra(bundle)}
    save_checkpoint(tmp_path / "model_1.pth", content)
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    assert evaluate(tmp_path, *flags) == 2
    error = capsys.readouterr().err
    assert "absent.pt" in error and "Traceback" not in error
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize("name", ["../x", "", "/tmp/x", "a/../../x"])
def test_results_stay_below_the_folder_of_the_run(
    run_folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    assert evaluate(run_folder, *flags, "--log-name", name) == 2
    assert (
        f"OptionError: --log-name {name!r}: needs a folder below eval/" in capsys.readouterr().err
    )


def test_every_checkpoint_is_read_before_the_first_one_acts(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "run", ignore=lambda *_: ["eval"]))
    sound = (folder / "model_plus_last.pth").read_bytes()
    (folder / "model_plus_last.pth").write_bytes(sound[:1000])
    flags = ("--model-name", "all", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    flags += ("--episode-length", 1, "--workers", 1)
    assert evaluate(folder, *flags) == 2
    assert "model_plus_last.pth" in capsys.readouterr().err
    assert not (folder / "eval").exists()
    (folder / "model_plus_last.pth").write_bytes(sound)
    assert evaluate(folder, *flags) == 0, "without --resume"


@pytest.mark.parametrize("flag", ["--no-memory-strict", "--no-clip-targets", "--strict-order"])
def test_switches_of_the_environment_are_part_of_an_evaluation(
    run_folder: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, *FRESH, "--episode-length", 1)
    flags += ("--log-name", f"switch{flag}", "--workers", 1)
    assert evaluate(run_folder, *flags, flag, "--eval-episodes", 1) == 0
    settings = read_description(run_folder / f"eval/switch{flag}/model_1")["settings"]
    name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
    assert settings[name] is not flag.startswith("--no-")
    assert evaluate(run_folder, *flags, "--eval-episodes", 2, "--resume") == 2
    assert f"settings {name}" in capsys.readouterr().err


def test_episodes_that_the_simulator_lost_run_again(run_folder: Path) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 2, *FRESH)
    flags += ("--log-name", "lost", "--workers", 1, "--episode-length", 1)
    assert evaluate(run_folder, *flags) == 0
    folder = run_folder / "eval/lost/model_1"
    first, second = read_rows(folder)
    (folder / "episodes.csv").unlink()
    writer = RowWriter(folder / "episodes.csv")
    writer.write(first)
    lost = dataclasses.replace(second, failure="SimulatorTimeout", message="no reply")
    writer.write(lost)
    # What is complete is told as it is; only --resume runs it again.
    assert evaluate(run_folder, *flags) == 2
    assert evaluate(run_folder, *flags, "--resume") == 0
    assert [row.failure for row in read_rows(folder)] == [first.failure, second.failure]


def test_lost_episodes_show_in_the_exit_status(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = EpisodeRow(TASK, 0, 0, 7, 0, 0.0, 3, failure="SimulatorTimeout")
    monkeypatch.setattr(program, "evaluate", lambda *_: Outcome({"model_1": [50.0]}, [lost]))
    assert evaluate(run_folder, "--model-name", "model_1.pth") == 1
    error = capsys.readouterr().err
    assert "1 episodes count as failed" in error and "1 x SimulatorTimeout" in error
    monkeypatch.setattr(program, "evaluate", lambda *_: Outcome({"model_1": [50.0]}))
    assert evaluate(run_folder, "--model-name", "model_1.pth") == 0


def test_a_device_that_is_not_there_is_noticed_before_anything_is_written(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, *FRESH, "--log-name", "device")
    assert evaluate(run_folder, *flags, "--device", "cuda:99") == 2
    assert "--device cuda:99" in capsys.readouterr().err
    assert not (run_folder / "eval/device").exists()


def test_published_flag_keeps_the_cube_of_training() -> None:
    flags = ["--model-folder", "runs/x", "--exp_cfg_opts", "bs 3"]
    parser = program.build_parser()
    plain = program.options_from(parser.parse_args(flags))
    kept = program.options_from(parser.parse_args([*flags, "--use-input-place-with-mean"]))
    assert plain.exp_cfg_opts == "bs 3"
    assert load_experiment("", kept.exp_cfg_opts).eval.place_with_mean == "trained"
    assert load_experiment("", kept.exp_cfg_opts).bs == 3
