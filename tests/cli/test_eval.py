"""The command line of eval.py, from the first flag to the tables on disk."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.envs.video import SUFFIXES
from sam2act.evaluation.latency import read_latency
from sam2act.evaluation.results import read_description, read_rows
from sam2act.policies.checkpoint import build_policy, config_extra, save_checkpoint, write_config
from tests.cli.eval_runs import FRESH, SIZES, TASK, evaluate, make_demos, make_run_folder, rows_of


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("runs") / "sam2act_plus_x")


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demos(tmp_path_factory.mktemp("data") / "test")


def test_one_episode_of_a_stage_two_checkpoint(run_folder: Path, demos: Path) -> None:
    flags = ("--model-name", "model_plus_last.pth", "--tasks", TASK, "--eval-episodes", 1)
    flags += ("--eval-datafolder", demos, "--headless", "--log-name", "test/1", "--save-video")
    flags += ("--episode-length", 3)
    assert evaluate(run_folder, *flags, "--workers", 1) == 0
    folder = run_folder / "eval/test/1/model_plus_last"
    (row,) = read_rows(folder)
    assert (row.task, row.episode, row.success) == (TASK, 0, 0) and row.failure
    assert row.instruction.startswith("move the block") and row.seconds > 0
    assert not (folder / "latency.json").exists()
    assert (folder / row.video).stat().st_size > 1000 and row.video.endswith(SUFFIXES)
    with open(folder / "eval_results.csv", newline="") as stream:
        lines = list(csv.reader(stream))
    assert lines[0] == ["task", "success rate", "length", "total_transitions"]
    assert lines[1] == [TASK, "0.0", str(float(row.steps)), str(row.steps)]
    assert lines[2][:2] == ["average", "0.0"]
    config = yaml.safe_load((run_folder / "eval/test/1/eval_config.yaml").read_text())
    assert config["eval_datafolder"] == str(demos) and config["headless"] is True
    description = read_description(folder)
    assert description["settings"]["backend"] == "embedded", "as recorded in the demos"
    assert description["checkpoint"]["step"] == 80 and description["chance"] == {TASK: 0.25}


def test_stage_one_checkpoint_in_a_folder_called_plus(run_folder: Path) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    flags += ("--episode-length", 2, "--measure-latency")
    assert evaluate(run_folder, *flags, "--log-name", "one") == 0
    (row,) = rows_of(run_folder, "one", "model_1")
    folder = run_folder / "eval/one/model_1"
    latency = read_latency(folder)
    assert latency is not None and 0 < latency.seconds < 60
    assert (latency.passes, latency.rows, latency.device) == (10, 1, "cpu")
    info = json.loads((folder / "eval_info.json").read_text())
    assert info["overall"]["n_episodes"] == 1 and info["per_episode"][0]["seed"] == row.seed


def test_policy_gets_the_cameras_and_the_image_size_it_was_trained_with(tmp_path: Path) -> None:
    experiment = load_experiment("configs/tiny.yaml", "cameras front,wrist image_size 64")
    bundle = build_policy(experiment, load_network("configs/mvt/tiny.yaml", SIZES), seed=1)
    content = {"model_state": bundle.model_state(), "extra": config_extra(bundle)}
    save_checkpoint(tmp_path / "model_1.pth", content)
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    assert evaluate(tmp_path, *flags, "--episode-length", 1) == 0
    (row,) = rows_of(tmp_path, "none", "model_1")
    assert row.variation >= 0, "the policy accepted the observation"


def test_several_checkpoints_and_repeats(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model-name", "all", "--tasks", TASK, "--eval-episodes", 2, *FRESH, "--repeats", 2)
    flags += ("--workers", 1)
    assert evaluate(run_folder, *flags, "--log-name", "many", "--episode-length", 1) == 0
    assert "best checkpoint: model_1, 0.0 % on average" in capsys.readouterr().out
    for stem in ("model_1", "model_plus_last"):
        first, second = (rows_of(run_folder, f"many/{n}", stem) for n in (1, 2))
        assert len(first) == len(second) == 2
        assert {row.seed for row in first}.isdisjoint({row.seed for row in second})
    # The second run evaluates nothing, and knows the figures from what is stored.
    assert evaluate(run_folder, *flags, "--log-name", "many", "--skip", "--episode-length", 1) == 0
    output = capsys.readouterr()
    assert "best checkpoint: model_1" in output.out and "episode/s" not in output.err
    # Results of other scenes are not taken for those that were asked for.
    others = (*flags, "--seed", 12, "--log-name", "many", "--episode-length", 1)
    assert evaluate(run_folder, *others, "--skip") == 2
    assert "settings seed 11, now it is 12" in capsys.readouterr().err


def test_ground_truth_solves_recorded_scenes(run_folder: Path, demos: Path) -> None:
    flags = ("--ground-truth", "--tasks", TASK, "push_buttons", "--eval-episodes", 2)
    flags += ("--eval-datafolder", demos, "--log-name", "gt")
    assert evaluate(run_folder, *flags, "--mvt_cfg_path", "configs/mvt/sam2act.yaml") == 0
    rows = rows_of(run_folder, "gt", "ground_truth")
    assert [(row.task, row.episode) for row in rows] == [
        ("push_buttons", 0),
        ("push_buttons", 1),
        (TASK, 0),
        (TASK, 1),
    ]
    assert all(row.success and row.reward == 100 for row in rows)


def test_perturbed_scenes(run_folder: Path, demos: Path) -> None:
    flags = ("--ground-truth", "--tasks", "push_buttons", "--eval-episodes", 1)
    flags += ("--eval-datafolder", demos, "--log-name", "dark", "--perturb", "light_color")
    assert evaluate(run_folder, *flags) == 0
    (row,) = rows_of(run_folder, "dark", "ground_truth")
    assert row.success
    description = read_description(run_folder / "eval/dark/ground_truth")
    assert description["settings"]["perturb"] == ["light_color"]
    assert description["perturbed"] == {"push_buttons": ["light_color"]}


def test_more_tasks_are_added_to_the_tables(run_folder: Path, demos: Path) -> None:
    flags = ("--ground-truth", "--eval-datafolder", demos, "--log-name", "more", "--workers", 1)
    assert evaluate(run_folder, *flags, "--tasks", TASK, "--eval-episodes", 1) == 0
    more = ("--tasks", "push_buttons", "--eval-episodes", 2, "--resume")
    assert evaluate(run_folder, *flags, *more) == 0
    folder = run_folder / "eval/more/ground_truth"
    with open(folder / "eval_results.csv", newline="") as stream:
        tasks = [line[0] for line in csv.reader(stream)]
    assert tasks == ["task", TASK, "push_buttons", "average"]
    settings = read_description(folder)["settings"]
    assert settings["tasks"] == [TASK, "push_buttons"] and settings["eval_episodes"] == 2
    # The same folder named otherwise is the same folder.
    again = ("--eval-datafolder", demos / ".." / "test", "--tasks", TASK, "--eval-episodes", 1)
    assert evaluate(run_folder, *flags, *again, "--resume") == 0


def test_other_configs_are_another_evaluation(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    flags += ("--log-name", "configs", "--workers", 1, "--episode-length", 2)
    assert evaluate(run_folder, *flags) == 0
    bounds = "scene_bounds [-0.2,-0.5,0.6,0.7,0.5,1.6]"
    write_config(tmp_path / "other.yaml", to_dict(load_experiment("configs/tiny.yaml", bounds)))
    more = ("--resume", "--eval-episodes", 2, "--exp_cfg_path", tmp_path / "other.yaml")
    assert evaluate(run_folder, *flags, *more) == 2
    assert "exp_cfg_path" in capsys.readouterr().err
    content = json.loads((run_folder / "eval/configs/model_1/evaluation.json").read_text())
    content["settings"]["exp_cfg_path"] = str(tmp_path / "other.yaml")
    (run_folder / "eval/configs/model_1/evaluation.json").write_text(json.dumps(content))
    assert evaluate(run_folder, *flags, *more) == 2
    assert "checkpoint config" in capsys.readouterr().err


def test_finished_episodes_are_noticed_before_anything_runs(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--tasks", TASK, "--eval-episodes", 1, *FRESH, "--log-name", "early", "--workers", 1)
    flags += ("--episode-length", 2)
    assert evaluate(run_folder, *flags, "--model-name", "model_plus_last.pth") == 0
    assert evaluate(run_folder, *flags, "--model-name", "all") == 2
    assert "add --resume" in capsys.readouterr().err
    assert not (run_folder / "eval/early/model_1").exists()


def test_killed_evaluation_loses_no_finished_episode(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 12, *FRESH)
    flags += ("--workers", 1, "--episode-length", 2)
    assert evaluate(run_folder, *flags, "--log-name", "whole") == 0
    command = [sys.executable, "-m", "sam2act.eval", "--model-folder", str(run_folder)]
    command += ["--device", "cpu", *map(str, flags)]
    path = run_folder / "eval/cut/model_1/episodes.csv"
    with subprocess.Popen([*command, "--log-name", "cut"], stderr=subprocess.DEVNULL) as process:
        while not path.exists() or path.read_text().count("\n") < 3:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    kept = rows_of(run_folder, "cut", "model_1")
    assert 2 <= len(kept) < 12
    assert evaluate(run_folder, *flags, "--log-name", "cut") == 2
    assert "add --resume" in capsys.readouterr().err
    assert evaluate(run_folder, *flags, "--log-name", "cut", "--resume") == 0
    rows = rows_of(run_folder, "cut", "model_1")
    assert rows[: len(kept)] == kept, "finished episodes were not run again"
    without_time = [
        [(r.key, r.seed, r.steps, r.failure, r.message) for r in found]
        for found in (rows, rows_of(run_folder, "whole", "model_1"))
    ]
    assert without_time[0] == without_time[1]


def test_episodes_are_shared_out_over_processes(run_folder: Path) -> None:
    flags = ("--model-folder", run_folder, "--model-name", "model_1.pth", "--tasks", TASK)
    flags += ("--eval-episodes", 4, *FRESH, "--device", "cpu", "--workers", 1)
    flags += ("--episode-length", 3)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "-m", "sam2act.eval", *map(str, flags)]
    done = subprocess.run([*command, "--log-name", "two"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = run_folder / "eval/two/model_1"
    counts = [len((folder / f"episodes{x}.csv").read_text().splitlines()) for x in ("", "_rank1")]
    assert counts == [3, 3], "a header and two rows each"
    assert [row.episode for row in read_rows(folder)] == [0, 1, 2, 3]
    assert len((folder / "eval_results.csv").read_text().splitlines()) == 3
    assert evaluate(run_folder, *flags[2:], "--log-name", "single") == 0
    steps = [
        [(r.seed, r.steps, r.failure, r.message) for r in rows_of(run_folder, name, "model_1")]
        for name in ("two", "single")
    ]
    assert steps[0] == steps[1]
    # Then one missing episode for two processes: one of them has nothing to do.
    more = [*command, "--log-name", "two", "--resume", "--eval-episodes", "5"]
    done = subprocess.run(more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [row.episode for row in read_rows(folder)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--model-name is missing"),
        (("--model-name", "/tmp/model_1.pth"), "a file name in --model-folder, not a path"),
        (("--model-name", ""), "a file name in --model-folder"),
        (("--ground-truth", "--repeats", 2), "the same results on the same demos"),
        (("--model-name", "model_9.pth"), "it holds model_1.pth, model_plus_last.pth"),
        (("--model-name", "model_1.pth", "--seed", 3), "add --backend embedded"),
        (("--ground-truth", "--seed", 3, "--backend", "embedded"), "leave --seed out"),
        (("--ground-truth", "--model-name", "model_1.pth"), "uses no checkpoint"),
        (("--model-name", "model_1.pth", "--peract_official"), "not part of this project"),
        (("--model-name", "model_1.pth", *FRESH, "--tasks", "put_block"), TASK),
        (("--model-name", "model_1.pth", *FRESH, "--perturb", "fog"), "fog"),
        (("--model-name", "model_1.pth", *FRESH, "--perturb", "object_size"), "changes nothing in"),
        (("--model-name", "model_1.pth", "--eval-datafolder", "nowhere"), "nowhere"),
        (
            (
                "--model-name",
                "model_plus_last.pth",
                *FRESH,
                "--mvt_cfg_path",
                "configs/mvt/tiny.yaml",
            ),
            "model_plus_last.pth does not fit the network config configs/mvt/tiny.yaml",
        ),
        (
            ("--model-name", "model_1.pth", *FRESH, "--mvt_cfg_path", "configs/mvt/tiny_plus.yaml"),
            "model_1.pth does not fit the network config configs/mvt/tiny_plus.yaml",
        ),
    ],
)
def test_errors_name_the_remedy(
    run_folder: Path,
    demos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[object, ...],
    message: str,
) -> None:
    tasks = () if "--tasks" in flags else ("--tasks", TASK)
    data = () if "--eval-datafolder" in flags else ("--eval-datafolder", demos)
    flags += ("--eval-episodes", 1) if "--ground-truth" in flags else ()
    assert evaluate(run_folder, *tasks, *data, *flags, "--log-name", tmp_path.name) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_results_of_another_checkpoint_are_not_continued(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--model-name", "model_1.pth", "--tasks", TASK, "--eval-episodes", 1, *FRESH)
    flags += ("--log-name", "changed", "--workers", 1, "--episode-length", 2)
    assert evaluate(run_folder, *flags) == 0
    path = run_folder / "eval/changed/model_1/evaluation.json"
    content = json.loads(path.read_text())
    content["checkpoint"]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    assert evaluate(run_folder, *flags, "--resume", "--eval-episodes", 2) == 2
    assert "checkpoint sha256" in capsys.readouterr().err
