"""Folders that belong to a task set, where the released code has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.config import tasks
from sam2act.config.load import load_experiment
from sam2act.config.tasks import data_folder, lies_in_package, replay_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for checkout and package; the working directory lies outside of both."""
    root = tmp_path / "checkout"
    (root / "sam2act" / "data").mkdir(parents=True)  # source files, no demos
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tasks, "PACKAGE", root / "sam2act")
    monkeypatch.setattr(tasks, "checkout", lambda: root)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def data(task: str, more: str = "") -> str:
    return data_folder(load_experiment("", f"tasks {task} {more}"))


def replay(task: str, more: str = "") -> str:
    return replay_folder(load_experiment("", f"tasks {task} {more}"))


@pytest.mark.parametrize(
    ("task", "name"), [("open_drawer", "data"), ("put_block_back", "data_memory")]
)
def test_demos_are_found_where_the_released_code_has_them(
    root: Path, monkeypatch: pytest.MonkeyPatch, task: str, name: str
) -> None:
    assert data(task) == name, "the plain name where there are none"
    for place in (root / "sam2act", root, root.parent / "elsewhere"):  # each wins over the last
        (place / name / "train" / task).mkdir(parents=True)
        assert Path(data(task)).resolve() == place / name
    assert data(task, "data_folder other") == "other"
    monkeypatch.chdir(root / "sam2act")
    assert data(task) == name and lies_in_package(data(task))
    monkeypatch.chdir(root)
    assert data(task) == name and not lies_in_package(data(task))


@pytest.mark.parametrize(
    ("task", "name"),
    [("open_drawer", "replay_temporal"), ("put_block_back", "replay_temporal_memory")],
)
def test_replays_are_found_where_the_released_code_has_them(
    root: Path, task: str, name: str
) -> None:
    assert replay(task) == ""
    for place in (root / "sam2act", root, root.parent / "elsewhere"):
        (place / name / "replay_train" / task).mkdir(parents=True)
        assert Path(replay(task)).resolve() == place / name / "replay_train"
    assert replay("close_jar") == "", "of another task"
    assert replay(task, "replay_folder none") == "" == replay(task, "replay_folder None")
    assert replay(task, "data_folder demos") == "", "who names demos means them"
    around, inside = root / name, root / name / "replay_train"
    for given in (around, inside):
        assert replay(task, f"data_folder demos replay_folder {given}") == str(inside)
    assert replay(task, "replay_folder absent") == "absent", "left for the reader to refuse"
