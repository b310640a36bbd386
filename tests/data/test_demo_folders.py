"""What is said where demos are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.data.demo_folders import episodes_folder, tasks_below, why_absent
from sam2act.data.demos import list_episodes
from sam2act.data.rlbench_types import DemoError

TASKS = ("close_jar", "open_drawer", "stack_blocks")


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    root = tmp_path / "demos"
    for split in ("test", "train"):
        for task in TASKS:
            (episodes_folder(root, split, task) / "episode0").mkdir(parents=True)
    (root / "train" / "notes").mkdir()
    return root


def _error(root: Path, split: str, task: str) -> str:
    with pytest.raises(DemoError) as error:
        list_episodes(root, split, task)
    return str(error.value)


def test_tasks_are_the_folders_with_episodes(demos: Path) -> None:
    assert tasks_below(demos / "train") == list(TASKS)
    assert tasks_below(demos / "nowhere") == []


def test_wrong_task_lists_those_there_and_the_nearest(demos: Path) -> None:
    message = _error(demos, "train", "open_drawr")
    assert message.startswith(f"{demos / 'train' / 'open_drawr'}: no such folder")
    assert "did you mean open_drawer?" in message
    assert ", ".join(TASKS) in message and "notes" not in message
    assert "did you mean" not in _error(demos, "train", "xyz")


def test_long_lists_of_tasks_are_cut(demos: Path) -> None:
    for number in range(40):
        episodes_folder(demos, "train", f"task{number:02}").mkdir(parents=True)
    message = _error(demos, "train", "xyz")
    assert "task00" in message and "task39" not in message and ", ...:" in message


def test_wrong_split_names_those_there_and_the_keys(demos: Path) -> None:
    message = _error(demos, "val", "open_drawer")
    assert f"{demos} holds the splits test, train" in message
    assert "validation.split" in message and "--split" in message


def test_split_folder_given_as_data_folder_is_recognised(demos: Path, monkeypatch) -> None:
    expected = f"is the folder of split train itself: set data_folder to {demos}"
    assert expected in _error(demos / "train", "train", "open_drawer")
    monkeypatch.chdir(demos / "train")
    assert expected in _error(Path(), "train", "open_drawer")
    assert "holds tasks, not splits" in _error(demos / "test", "train", "open_drawer")


@pytest.mark.parametrize("made", ["", "demos", "demos/train", "demos/train/lift/variation0"])
def test_every_message_names_folder_and_key(tmp_path: Path, made: str) -> None:
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    message = why_absent(tmp_path / "demos", "train", "lift")
    assert message.startswith(str(tmp_path / "demos")) and "no such folder" in message
    assert "set data_folder to the folder that holds train/lift/all_variations/episodes" in message
    assert ("one folder per variation" in message) == ("variation0" in made)
