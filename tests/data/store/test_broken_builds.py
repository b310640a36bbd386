"""Builds of broken demos, interrupted builds, damaged stores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.demo_images import image_path
from sam2act.data.rlbench.types import DemoError
from sam2act.data.store.builder import ensure_store, open_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import INDEX_FILE, StoreError, TaskStore
from tests.data.store.small_store import (
    TASK,
    build,
    built_at,
    episode_folder,
    siblings,
)


@pytest.mark.parametrize("tasks", [["close_drawer"], [TASK, "close_drawer"]])
def test_missing_demos_leave_nothing_behind(request_: StoreRequest, tasks: list[str]) -> None:
    with pytest.raises(DemoError, match="close_drawer"):
        ensure_store(request_, tasks, progress=False)
    assert not Path(request_.store_folder).exists()


def test_broken_episode_stops_the_build_and_leaves_nothing(request_: StoreRequest) -> None:
    image_path(episode_folder(request_, 1), "front", "rgb", 10).unlink()
    with pytest.raises(DemoError, match=r"episode1.front_rgb.10\.png.*--skip-bad-episodes"):
        build(request_)
    assert not request_.folder(TASK).exists() and not siblings(request_)


def test_failed_rebuild_keeps_the_old_store(request_: StoreRequest) -> None:
    store = build(request_)
    expected = store.gather(store.valid[:3]).rgb.copy()
    image_path(episode_folder(request_, 1), "front", "rgb", 10).unlink()
    with pytest.raises(DemoError):
        build(request_)
    kept = open_store(request_, [TASK])
    np.testing.assert_array_equal(kept.gather(kept.valid[:3]).rgb, expected)
    assert not siblings(request_)


def test_bad_episodes_can_be_skipped(request_: StoreRequest, caplog) -> None:
    missing = image_path(episode_folder(request_, 1), "front", "rgb", 10)
    content = missing.read_bytes()
    missing.unlink()
    (episode_folder(request_, 2) / "low_dim_obs.pkl").write_bytes(b"broken")
    store = build(request_, skip_bad_episodes=True)
    assert set(store.table["episode"]) == {0}
    assert "episode 1 was left out" in caplog.text and "episode 2 was left out" in caplog.text
    before = built_at(request_)
    build(request_, skip_bad_episodes=True)
    assert built_at(request_) == before
    missing.write_bytes(content)  # a repaired episode is taken in
    store = build(request_, skip_bad_episodes=True)
    assert set(store.table["episode"]) == {0, 1}
    with pytest.raises(DemoError, match="episode2"):
        build(request_)


def test_skipped_episodes_are_listed_on_every_start(
    request_: StoreRequest, tmp_path: Path, caplog
) -> None:
    (episode_folder(request_, 1) / "low_dim_obs.pkl").write_bytes(b"broken")
    build(request_, skip_bad_episodes=True)
    before = built_at(request_)
    for request in (
        request_,
        dataclasses.replace(request_, data_folder=tmp_path / "nowhere", store_alone=True),
    ):
        caplog.clear()
        build(request, skip_bad_episodes=True)
        assert caplog.text.count("episode 1 was left out") == 1
        assert "low_dim_obs.pkl" in caplog.text
    caplog.clear()
    build(dataclasses.replace(request_, demo=1), skip_bad_episodes=True)
    assert "left out" not in caplog.text and built_at(request_) == before


def test_only_bad_episodes_is_an_error(request_: StoreRequest) -> None:
    for number in range(3):
        (episode_folder(request_, number) / "low_dim_obs.pkl").unlink()
    with pytest.raises(DemoError, match="every requested episode is broken"):
        build(request_, skip_bad_episodes=True)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, RuntimeError])
def test_interrupted_build_leaves_nothing(request_: StoreRequest, monkeypatch, interrupt) -> None:
    def fail(*_args) -> None:
        raise interrupt

    monkeypatch.setattr("sam2act.data.rlbench.source.camera_arrays", fail)
    with pytest.raises(interrupt):
        build(request_)
    assert not request_.folder(TASK).exists() and not siblings(request_)


def test_leftovers_of_a_killed_build_are_cleaned(request_: StoreRequest) -> None:
    leftover = request_.folder(TASK).with_name(f".{TASK}.building")
    leftover.mkdir(parents=True)
    (leftover / "frames.u8").write_bytes(b"half a store")
    store = build(request_)
    assert len(store.valid) and not siblings(request_)


def test_store_of_a_build_killed_while_replacing_is_restored(request_: StoreRequest) -> None:
    build(request_)
    before = built_at(request_)
    request_.folder(TASK).rename(request_.folder(TASK).with_name(f".{TASK}.replaced"))
    build(request_)
    assert built_at(request_) == before and not siblings(request_)


def test_damaged_stores_say_how_to_repair(request_: StoreRequest) -> None:
    build(request_)
    folder = request_.folder(TASK)
    with open(folder / "frames.u8", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(StoreError, match=r"frames\.u8.*bytes.*--refresh"):
        TaskStore(folder)
    (folder / INDEX_FILE).write_text("{")
    with pytest.raises(StoreError, match=r"index\.json.*--refresh"):
        TaskStore(folder)
    with pytest.raises(StoreError, match=r"build_store\.py"):
        KeyframeStore.open(request_.store_folder, "val", [TASK])
    assert len(build(request_).valid)  # a damaged index is simply built again
