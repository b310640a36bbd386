"""What is said where demos are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.data.rlbench.demo_folders import (
    episode_folders,
    episodes_folder,
    tasks_below,
    warn_of_strays,
    why_absent,
)
from sam2act.data.rlbench.demos import list_episodes, read_episode
from sam2act.data.rlbench.types import DemoError

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
    assert "task00" in message and "task39" not in message and " more: " in message


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


def _episodes(root: Path, *names: str) -> Path:
    folder = episodes_folder(root, "train", "lift")
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


def test_every_writing_of_a_number_is_that_episode(tmp_path: Path) -> None:
    names = ("episode10", "episode007", "episode_0", "episode-00", "episode3")
    folder = _episodes(tmp_path, *[name for name in names if name != "episode-00"])
    found = episode_folders(tmp_path, "train", "lift")
    assert {number: path.name for number, path in found.items()} == {
        **{0: "episode_0", 3: "episode3", 7: "episode007", 10: "episode10"}
    }
    assert list(found) == list_episodes(tmp_path, "train", "lift") == [0, 3, 7, 10]
    (folder / "episode-00").mkdir()
    with pytest.raises(DemoError, match=r"episode-00 and episode_0 are both episode 0; rename"):
        episode_folders(tmp_path, "train", "lift")


def test_what_is_no_episode_is_left_alone_and_named(tmp_path: Path, caplog) -> None:
    folder = _episodes(
        tmp_path, "episode0", "episode0 (copy)", "episode1.part-77", ".ipynb_checkpoints"
    )
    for name in (".DS_Store", "episode2.zip", "episode3"):
        (folder / name).write_bytes(b"x")
    assert list_episodes(tmp_path, "train", "lift") == [0]
    warn_of_strays(tmp_path, "train", "lift")
    assert "episode0 (copy), episode1.part-77" in caplog.text
    assert ".ipynb" not in caplog.text and "episode2" not in caplog.text


def test_hidden_folders_are_no_tasks_and_no_splits(demos: Path) -> None:
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN"):
        episodes_folder(demos, "train", name).mkdir(parents=True)
        episodes_folder(demos, name, "open_drawer").mkdir(parents=True)
    assert tasks_below(demos / "train") == list(TASKS)
    assert f"{demos} holds the splits test, train:" in _error(demos, "val", "open_drawer")


def test_other_names_come_with_the_command_that_renames(tmp_path: Path) -> None:
    folder = _episodes(tmp_path, "demo 0", "demo 1")
    message = _error(tmp_path, "train", "lift")
    assert "holds no episode<N>" in message
    assert f"`mv '{folder / 'demo 0'}' {folder / 'episode0'}`" in message
    with pytest.raises(DemoError, match="called episode<N>; rename it, e.g. `mv "):
        read_episode(folder / "demo 0")
