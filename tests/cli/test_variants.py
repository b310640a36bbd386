"""A variant on purpose goes by its name `TASK@VARIANT` through every command, and demos of older
layouts train but are not evaluated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sam2act.cli import demos, evaluate, play, report
from sam2act.data.rlbench.demo_folders import EPISODES_FOLDER, tasks_below
from sam2act.data.rlbench.demos import read_episode
from sam2act.data.rlbench.types import dump_published
from tests.in_process import run_main
from tests.training import tiny_run

TASK = "push_buttons@any_colors"


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demos of a variant."""
    output = tmp_path_factory.mktemp("today") / "train"
    flags = ("--tasks", TASK, "--episodes", 2, "--image-size", 16, "--workers", 1)
    assert run_main(demos.main, *flags, "--output", output).returncode == 0
    return output


@pytest.fixture(scope="module")
def older(split: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same demos as they were stored before layouts had a version."""
    root = tmp_path_factory.mktemp("older")
    copy = Path(shutil.copytree(split, root / "demos" / "train"))
    for episode in (copy / TASK / EPISODES_FOLDER).iterdir():
        demo = read_episode(episode).demo
        for observation in demo:
            observation.misc.pop("scene_version", None)
        dump_published(demo, episode / "low_dim_obs.pkl")
    return copy


@pytest.fixture(scope="module")
def run_folder(older: Path) -> Path:
    """A policy trained on the older demos."""
    root = older.parents[1]
    assert tiny_run.run(root, f"tasks {TASK} epochs 1 train_iter 4") == 0
    return tiny_run.run_folder(root)


def evaluation(run_folder: Path, *flags: object) -> tuple[object, ...]:
    named = ("--model-folder", run_folder, "--model-name", "model_last.pth", "--device", "cpu")
    return (*named, "--workers", 1, "--episode-length", 1, "--eval-episodes", 1, *flags)


def test_the_folder_of_its_demos_has_its_name(split: Path) -> None:
    assert tasks_below(split) == [TASK]
    assert (split / TASK / EPISODES_FOLDER / "episode1" / "low_dim_obs.pkl").is_file()
    assert (split / f"{TASK}_contact_sheet.png").is_file()


@pytest.mark.parametrize("from_demos", [False, True], ids=["seed", "demos"])
def test_a_policy_trained_on_it_is_evaluated_and_reported(
    split: Path, run_folder: Path, tmp_path: Path, from_demos: bool
) -> None:
    scenes = ("--eval-datafolder", split) if from_demos else ("--seed", 3)
    flags = ("--tasks", TASK, "--backend", "embedded", "--log-name", scenes[0][2:], *scenes)
    done = run_main(evaluate.main, *evaluation(run_folder, *flags))
    assert done.returncode == 0, done.stderr
    (table,) = (run_folder / "eval" / scenes[0][2:]).rglob("eval_results.csv")
    assert f"\n{TASK}," in table.read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    assert run_main(report.main, run_folder, "--output", page).returncode == 0
    assert TASK in page.read_text(encoding="utf-8")


def test_it_is_filmed(tmp_path: Path) -> None:
    flags = ("--task", TASK, "--every", 30, "--output", tmp_path / "film.gif")
    assert "solved after 2 keyframes" in run_main(play.main, *flags).stdout


def test_demos_of_an_older_layout_train_but_are_not_evaluated(
    older: Path, run_folder: Path
) -> None:
    flags = ("--tasks", TASK, "--eval-datafolder", older, "--log-name", "older")
    done = run_main(evaluate.main, *evaluation(run_folder, *flags))
    assert done.returncode == 2 and not (run_folder / "eval" / "older").exists()
    (line,) = [text for text in done.stderr.splitlines() if "scene_version" in text]
    assert "scene_version 1, but this environment has 2" in line
    assert "record demos again (sam2act demos)" in line and "training still takes" in line
