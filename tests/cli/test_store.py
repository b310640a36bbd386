"""The command lines of the data part."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sam2act.cli import store as command
from sam2act.core.registry import SOURCES
from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.types import dump_published, load_restricted
from sam2act.data.store.store import KeyframeStore
from tests.data.peract_replay.replay_writer import write_replay
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task
from tests.places import SCRIPTS

FORM = ["--cameras", ",".join(CAMERAS), "--image-size", str(IMAGE_SIZE)]


def test_help(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS.parent))
    command_line = [sys.executable, str(SCRIPTS / "build_store.py"), "--help"]
    printed = subprocess.run(command_line, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "--data-folder" in printed.stdout


def test_build_store_takes_every_task(tmp_path: Path, capsys) -> None:
    for task in ("open", "close"):
        write_synthetic_task(tmp_path / "demos", task=task, episodes=2)
    folders = ["--data-folder", str(tmp_path / "demos"), "--store-folder", str(tmp_path / "store")]
    assert command.main([*folders, *FORM, "--demo", "2"]) == 0
    assert "open" in capsys.readouterr().out
    store = KeyframeStore.open(tmp_path / "store", "train", ["close", "open"])
    assert set(store.table["episode"]) == {0, 1}


def test_build_store_takes_no_other_folder_for_a_task(tmp_path: Path, caplog) -> None:
    write_synthetic_task(tmp_path / "demos", task="open", episodes=2)
    split = tmp_path / "demos" / "train"
    for name in (".ipynb_checkpoints", "__MACOSX", "notes"):
        (split / name).mkdir()
    (split / ".DS_Store").write_bytes(b"x")
    (episodes_folder(tmp_path / "demos", "train", "open") / "episode0 (copy)").mkdir()
    folders = ["--data-folder", str(tmp_path / "demos"), "--store-folder", str(tmp_path / "store")]
    assert command.main([*folders, *FORM, "--demo", "2"]) == 0
    assert sorted(p.name for p in (tmp_path / "store/train").glob("[!.]*")) == ["open"]
    assert "without all_variations/episodes, hence no tasks: notes" in caplog.text
    assert "left alone: episode0 (copy)" in caplog.text


def test_build_store_assumes_the_collision_flag(tmp_path: Path, capsys) -> None:
    write_synthetic_task(tmp_path / "demos", task="open", episodes=1)
    path = episodes_folder(tmp_path / "demos", "train", "open") / "episode0" / "low_dim_obs.pkl"
    demo = load_restricted(path)
    for observation in demo:
        observation.ignore_collisions = None
    dump_published(demo, path)
    folders = ["--data-folder", str(tmp_path / "demos"), "--store-folder", str(tmp_path / "store")]
    assert command.main([*folders, *FORM]) == 2
    said = capsys.readouterr().err
    assert "set --assume-ignore-collisions False (" in said and "assume_ignore" not in said
    assert command.main([*folders, *FORM, "--assume-ignore-collisions", "True"]) == 0
    table = KeyframeStore.open(tmp_path / "store", "train", ["open"]).table
    assert (table["collision_next"] == 1).all()


def test_build_store_reports_errors_without_traceback(tmp_path: Path, capsys) -> None:
    write_synthetic_task(tmp_path / "demos", task="open", episodes=1)
    store = ["--store-folder", str(tmp_path / "store"), *FORM]
    assert command.main(["--data-folder", str(tmp_path / "nowhere"), *store]) == 2
    printed = capsys.readouterr().err
    assert "nowhere" in printed and "--data-folder" in printed and "data_folder" not in printed
    demos = ["--data-folder", str(tmp_path / "demos"), *store]
    for flags, remedy in (
        (["--tasks", "opne"], r"did you mean open\?.*change --tasks, or set --data-folder"),
        (["--split", "val"], r"holds the splits train: name one of them by --split"),
        (["--tasks", "open", "--demo-start", "7"], "check --demo and --demo-start"),
    ):
        assert command.main([*demos, *flags]) == 2
        assert re.search(remedy, capsys.readouterr().err)
    assert command.main(["--data-folder", str(tmp_path / "demos/train"), *store]) == 2
    assert f"set --data-folder to {tmp_path / 'demos'}\n" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
    episode = episodes_folder(tmp_path / "demos", "train", "open") / "episode0"
    (episode / "low_dim_obs.pkl").write_bytes(b"")
    assert command.main(["--data-folder", str(tmp_path / "demos"), *store]) == 2
    assert "low_dim_obs.pkl" in capsys.readouterr().err


def test_build_store_imports_replays(tmp_path: Path) -> None:
    write_synthetic_task(tmp_path / "demos", task="open", episodes=1)
    demos = ["--data-folder", str(tmp_path / "demos"), "--store-folder", str(tmp_path / "store")]
    assert command.main([*demos, *FORM]) == 0
    original = KeyframeStore.open(tmp_path / "store", "train", ["open"])
    write_replay(tmp_path / "replay" / "open", original)
    (tmp_path / "replay" / "logs").mkdir()
    replay = ["--replay-folder", str(tmp_path / "replay"), "--store-folder", str(tmp_path / "new")]
    assert command.main([*replay, *FORM]) == 0
    assert len(KeyframeStore.open(tmp_path / "new" / "replay", "train", ["open"])) == len(original)


def test_stores_are_checked_without_building(tmp_path: Path, capsys) -> None:
    write_synthetic_task(tmp_path / "demos", task="open", episodes=2)
    folders = ["--data-folder", str(tmp_path / "demos"), "--store-folder", str(tmp_path / "store")]
    line = [*folders, *FORM, "--demo", "2"]
    assert command.main([*line, "--check"]) == 2
    assert re.search(r"open +would be built: there is none yet", capsys.readouterr().out)
    assert not (tmp_path / "store").exists()
    assert command.main(line) == 0
    capsys.readouterr()
    assert command.main([*line, "--check"]) == 0
    assert re.search(r"open +up to date\n", capsys.readouterr().out)
    assert command.main([*line, "--check", "--dense"]) == 2


def test_stores_of_all_kinds_are_listed(tmp_path: Path, capsys) -> None:
    write_synthetic_task(tmp_path / "demos", task="open", episodes=2, images="all")
    store = ["--store-folder", str(tmp_path / "store")]
    assert command.main([*store, "--list"]) == 2
    assert "holds no frame stores" in capsys.readouterr().err
    demos = ["--data-folder", str(tmp_path / "demos"), *store, *FORM]
    assert command.main(demos) == 0
    assert command.main([*demos, "--dense", "--no-depth"]) == 0
    assert "MB/frame" in capsys.readouterr().out
    assert command.main([*store, "--list"]) == 0
    header, dense, sparse = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["store", "demos", "frames", "MB"]
    assert dense.startswith("dense/train/open ") and "every frame, colour, cameras" in dense
    assert sparse.startswith("train/open ") and "chains, colour and depth, cameras" in sparse


@pytest.fixture
def toy() -> Iterator[None]:
    """A source of somebody else."""
    with SOURCES.temporarily(toy="tests.data.toy_source:ToySource"):
        yield


def test_another_source_is_built(toy: None, tmp_path: Path, capsys) -> None:
    folders = ["--data-folder", str(tmp_path), "--store-folder", str(tmp_path / "store")]
    toy = [*folders, "--source", "toy", "--dense", "--no-depth"]
    assert command.main(toy) == 2
    assert "--tasks: name the tasks of --source toy" in capsys.readouterr().err
    form = ["--cameras", "front", "--image-size", "16"]
    assert command.main([*toy, *form, "--tasks", "stack", "--demo", "3"]) == 0
    assert (tmp_path / "store/toy/dense/train/stack/index.json").is_file()
    assert command.main([*folders, "--source", "tyo"]) == 2
    assert "did you mean toy?" in capsys.readouterr().err
