"""Building, reusing and rebuilding stores."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import image_path, read_images
from sam2act.data.rlbench.types import DemoError, dump_published
from sam2act.data.store.builder import ensure_store, open_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import INDEX_FILE, ImageForm, StoreError, TaskStore, read_index
from tests.data.synthetic_demos import (
    CAMERAS,
    IMAGE_SIZE,
    write_synthetic_demo,
    write_synthetic_task,
)

TASK = "open_drawer"


@pytest.fixture
def request_(tmp_path: Path) -> StoreRequest:
    write_synthetic_task(tmp_path / "demos", task=TASK, episodes=3)
    return StoreRequest(
        tmp_path / "demos", tmp_path / "store", demo=3, cameras=CAMERAS, image_size=IMAGE_SIZE
    )


def _build(request: StoreRequest, **options) -> KeyframeStore:
    return ensure_store(request, [TASK], progress=False, **options)


def _episode(request: StoreRequest, number: int) -> Path:
    return episodes_folder(request.data_folder, request.split, TASK) / f"episode{number}"


def _built_at(request: StoreRequest) -> tuple[int, int]:
    """Changes with every build."""
    status = (request.folder(TASK) / INDEX_FILE).stat()
    return status.st_ino, status.st_mtime_ns


def _siblings(request: StoreRequest) -> set[str]:
    names = {path.name for path in request.folder(TASK).parent.iterdir()}
    return names - {TASK, f".{TASK}.lock"}


def test_images_and_calibration_are_those_of_the_shown_frame(request_: StoreRequest) -> None:
    store = _build(request_)
    records = store.valid[:: max(1, len(store.valid) // 7)]
    gathered = store.gather(records)
    for row, record in enumerate(store.table[records]):
        folder, frame = _episode(request_, record["episode"]), record["sample_frame"]
        images = read_images(folder, [int(frame)], CAMERAS, IMAGE_SIZE)[0]
        np.testing.assert_array_equal(gathered.rgb[row], images[0])
        np.testing.assert_array_equal(gathered.depth_code[row], images[1])
    wrist = gathered.extrinsics[:, CAMERAS.index("wrist")]
    assert len(np.unique(wrist.reshape(len(wrist), -1), axis=0)) > 1
    assert gathered.depth_range.dtype == np.float64


def test_each_frame_is_stored_once(request_: StoreRequest) -> None:
    store = _build(request_)
    table = store.table[store.valid]
    distinct = np.unique(np.stack([table["episode"], table["sample_frame"]]), axis=1).shape[1]
    assert store.task_stores[0].num_frames == distinct
    pairs = np.stack([table["episode"], table["image_row"]])
    assert np.unique(pairs, axis=1).shape[1] == distinct < len(table)


def test_no_pickles_in_the_store(request_: StoreRequest) -> None:
    _build(request_)
    names = {path.name for path in request_.folder(TASK).iterdir()}
    assert names == {"frames.u8", "arrays.safetensors", "index.json"}


def test_unchanged_demos_are_reused(request_: StoreRequest) -> None:
    _build(request_)
    before = _built_at(request_)
    _build(request_)
    assert _built_at(request_) == before
    _build(request_, refresh=True)
    assert _built_at(request_) != before


def _touch_image(request: StoreRequest) -> None:
    path = image_path(_episode(request, 1), "front", "rgb", 10)
    os.utime(path, ns=(1, 1))


def _change_pickle(request: StoreRequest) -> None:
    dump_published(["another instruction"], _episode(request, 2) / "variation_descriptions.pkl")


def _add_episode(request: StoreRequest) -> None:
    write_synthetic_demo(_episode(request, 1), seed=33)


def _rename_episode(request: StoreRequest) -> None:
    _episode(request, 2).rename(_episode(request, 7))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_touch_image, "episode 1 have changed"),
        (_change_pickle, "episode 2 have changed"),
        (_add_episode, "episode 1 have changed"),
        (_rename_episode, "episode 2 is gone"),
    ],
)
def test_changed_sources_are_rebuilt_with_a_reason(
    request_: StoreRequest, caplog, change, reason: str
) -> None:
    _build(request_)
    change(request_)
    caplog.set_level(logging.INFO)
    caplog.clear()
    before = _built_at(request_)
    _build(request_)
    assert _built_at(request_) != before
    lines = [r.message for r in caplog.records if r.message.startswith("building")]
    assert len(lines) == 1 and reason in lines[0]


def test_a_change_of_an_unused_image_is_no_reason(request_: StoreRequest) -> None:
    _build(request_)
    before = _built_at(request_)
    path = image_path(_episode(request_, 0), "front", "rgb", 1)
    path.write_bytes(b"never read")
    _build(request_)
    assert _built_at(request_) == before


def test_changed_settings_are_rebuilt(request_: StoreRequest, caplog) -> None:
    _build(request_)
    caplog.set_level(logging.INFO)
    store = _build(dataclasses.replace(request_, cameras=("wrist",)))
    assert store.cameras == ("wrist",) and store.gather(store.valid[:2]).rgb.shape[1] == 1
    assert "cameras changed" in caplog.text


def test_store_of_another_form_is_not_read(request_: StoreRequest) -> None:
    """Another run may rebuild a shared folder with its own settings between build and opening."""
    _build(dataclasses.replace(request_, cameras=("wrist",)))
    with pytest.raises(StoreError, match=r"wrist with .* but cameras front, .*store_folder") as e:
        open_store(request_, [TASK])
    assert str(request_.folder(TASK)) in str(e.value)
    _build(request_)
    other_size = dataclasses.replace(request_, image_size=IMAGE_SIZE + 1)
    with pytest.raises(StoreError, match=f"image_size {IMAGE_SIZE}, .*image_size {IMAGE_SIZE + 1}"):
        open_store(other_size, [TASK])
    assert open_store(request_, [TASK]).task_stores[0].form == ImageForm(CAMERAS, IMAGE_SIZE)


def test_worker_does_not_read_the_rebuild_of_another_run(request_: StoreRequest) -> None:
    sent = pickle.dumps(_build(request_))
    assert len(pickle.loads(sent)) > 0
    _build(dataclasses.replace(request_, cameras=("wrist",)))
    with pytest.raises(StoreError, match="store_folder"):
        pickle.loads(sent)


def test_open_store_keeps_its_images_through_a_rebuild(request_: StoreRequest) -> None:
    """Episode 0 joins the folder, which moves every frame of the others."""
    later = dataclasses.replace(request_, demo=2, demo_start=1)
    opened = _build(later)
    reference = _build(later).gather(opened.valid).rgb
    _build(request_)
    np.testing.assert_array_equal(opened.gather(opened.valid).rgb, reference)


@pytest.mark.parametrize("tasks", [["close_drawer"], [TASK, "close_drawer"]])
def test_missing_demos_leave_nothing_behind(request_: StoreRequest, tasks: list[str]) -> None:
    with pytest.raises(DemoError, match="close_drawer"):
        ensure_store(request_, tasks, progress=False)
    assert not Path(request_.store_folder).exists()


def test_store_to_restore_serves_without_its_demos(request_: StoreRequest, tmp_path: Path) -> None:
    _build(request_)
    request_.folder(TASK).rename(request_.folder(TASK).with_name(f".{TASK}.replaced"))
    assert len(
        _build(
            dataclasses.replace(request_, data_folder=tmp_path / "nowhere", store_alone=True)
        ).valid
    )


def test_fewer_demos_than_requested_warns_with_the_count(request_: StoreRequest, caplog) -> None:
    store = _build(dataclasses.replace(request_, demo=100))
    assert "3 of 100 requested demos" in caplog.text
    assert set(store.table["episode"]) == {0, 1, 2}


def test_episode_range_and_shared_store(request_: StoreRequest) -> None:
    """Training and held-out demos of one split share a folder without rebuilding in turn."""
    training = dataclasses.replace(request_, demo=2)
    held_out = dataclasses.replace(request_, demo=1, demo_start=2)
    assert set(_build(training).table["episode"]) == {0, 1}
    assert set(_build(held_out).table["episode"]) == {2}
    before = _built_at(request_)
    assert set(_build(training).table["episode"]) == {0, 1}
    assert set(_build(held_out).table["episode"]) == {2}
    assert _built_at(request_) == before


def test_absent_range_names_the_keys(request_: StoreRequest) -> None:
    with pytest.raises(DemoError, match="demo_start"):
        _build(dataclasses.replace(request_, demo_start=50))


def test_named_episodes_only_are_built(request_: StoreRequest) -> None:
    named = dataclasses.replace(request_, numbers=(2, 0))
    store = _build(named)
    assert set(store.table["episode"]) == {0, 2} and list(named.episodes) == [2, 0]
    assert [e["episode"] for e in store.task_stores[0].index["episodes"]] == [0, 2]


@pytest.mark.parametrize("moved", [False, True])
def test_absent_named_episode_is_an_error(request_: StoreRequest, tmp_path: Path, moved) -> None:
    _build(request_)
    folder = tmp_path / "nowhere" if moved else request_.data_folder
    named = dataclasses.replace(request_, numbers=(0, 7, 99), data_folder=folder, store_alone=moved)
    with pytest.raises(DemoError, match=r"no episode 7, 99.*--episodes.*0, 1, 2") as raised:
        _build(named)
    assert "demo_start" not in str(raised.value)


def test_store_without_its_demos_warns_with_the_count(
    request_: StoreRequest, tmp_path: Path, caplog
) -> None:
    _build(request_)
    _build(
        dataclasses.replace(request_, demo=5, data_folder=tmp_path / "nowhere", store_alone=True)
    )
    assert "3 of 5 requested demos" in caplog.text


def test_broken_episode_stops_the_build_and_leaves_nothing(request_: StoreRequest) -> None:
    image_path(_episode(request_, 1), "front", "rgb", 10).unlink()
    with pytest.raises(DemoError, match=r"episode1.front_rgb.10\.png.*--skip-bad-episodes"):
        _build(request_)
    assert not request_.folder(TASK).exists() and not _siblings(request_)


def test_failed_rebuild_keeps_the_old_store(request_: StoreRequest) -> None:
    store = _build(request_)
    expected = store.gather(store.valid[:3]).rgb.copy()
    image_path(_episode(request_, 1), "front", "rgb", 10).unlink()
    with pytest.raises(DemoError):
        _build(request_)
    kept = open_store(request_, [TASK])
    np.testing.assert_array_equal(kept.gather(kept.valid[:3]).rgb, expected)
    assert not _siblings(request_)


def test_bad_episodes_can_be_skipped(request_: StoreRequest, caplog) -> None:
    missing = image_path(_episode(request_, 1), "front", "rgb", 10)
    content = missing.read_bytes()
    missing.unlink()
    (_episode(request_, 2) / "low_dim_obs.pkl").write_bytes(b"broken")
    store = _build(request_, skip_bad_episodes=True)
    assert set(store.table["episode"]) == {0}
    assert "episode 1 was left out" in caplog.text and "episode 2 was left out" in caplog.text
    before = _built_at(request_)
    _build(request_, skip_bad_episodes=True)
    assert _built_at(request_) == before
    missing.write_bytes(content)  # a repaired episode is taken in
    store = _build(request_, skip_bad_episodes=True)
    assert set(store.table["episode"]) == {0, 1}
    with pytest.raises(DemoError, match="episode2"):
        _build(request_)


def test_skipped_episodes_are_listed_on_every_start(
    request_: StoreRequest, tmp_path: Path, caplog
) -> None:
    (_episode(request_, 1) / "low_dim_obs.pkl").write_bytes(b"broken")
    _build(request_, skip_bad_episodes=True)
    before = _built_at(request_)
    for request in (
        request_,
        dataclasses.replace(request_, data_folder=tmp_path / "nowhere", store_alone=True),
    ):
        caplog.clear()
        _build(request, skip_bad_episodes=True)
        assert caplog.text.count("episode 1 was left out") == 1
        assert "low_dim_obs.pkl" in caplog.text
    caplog.clear()
    _build(dataclasses.replace(request_, demo=1), skip_bad_episodes=True)
    assert "left out" not in caplog.text and _built_at(request_) == before


def test_only_bad_episodes_is_an_error(request_: StoreRequest) -> None:
    for number in range(3):
        (_episode(request_, number) / "low_dim_obs.pkl").unlink()
    with pytest.raises(DemoError, match="every requested episode is broken"):
        _build(request_, skip_bad_episodes=True)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, RuntimeError])
def test_interrupted_build_leaves_nothing(request_: StoreRequest, monkeypatch, interrupt) -> None:
    def fail(*_args) -> None:
        raise interrupt

    monkeypatch.setattr("sam2act.data.rlbench.source.camera_arrays", fail)
    with pytest.raises(interrupt):
        _build(request_)
    assert not request_.folder(TASK).exists() and not _siblings(request_)


def test_leftovers_of_a_killed_build_are_cleaned(request_: StoreRequest) -> None:
    leftover = request_.folder(TASK).with_name(f".{TASK}.building")
    leftover.mkdir(parents=True)
    (leftover / "frames.u8").write_bytes(b"half a store")
    store = _build(request_)
    assert len(store.valid) and not _siblings(request_)


def test_store_of_a_build_killed_while_replacing_is_restored(request_: StoreRequest) -> None:
    _build(request_)
    before = _built_at(request_)
    request_.folder(TASK).rename(request_.folder(TASK).with_name(f".{TASK}.replaced"))
    _build(request_)
    assert _built_at(request_) == before and not _siblings(request_)


def test_store_serves_without_its_demos(request_: StoreRequest, tmp_path: Path) -> None:
    _build(request_)
    moved = dataclasses.replace(request_, data_folder=tmp_path / "nowhere", store_alone=True)
    assert len(_build(moved).valid)
    with pytest.raises(StoreError, match="image_size"):
        _build(dataclasses.replace(moved, image_size=32))
    with pytest.raises(DemoError, match="data_folder"):
        _build(dataclasses.replace(moved, store_folder=tmp_path / "empty"))


def _build_in_process(request: StoreRequest) -> None:
    _build(request)


def test_two_processes_may_ask_at_once(request_: StoreRequest) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_build_in_process, args=(request_,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(open_store(request_, [TASK]).valid)


def test_several_tasks_are_joined(tmp_path: Path) -> None:
    demos = tmp_path / "demos"
    write_synthetic_task(demos, task="a", episodes=2, instruction="open it")
    write_synthetic_task(demos, task="b", episodes=1, instruction="close it", seed=9)
    write_synthetic_demo(
        episodes_folder(demos, "train", "b") / "episode1", instruction="open it", seed=10
    )
    request = StoreRequest(
        demos, tmp_path / "store", demo=2, cameras=CAMERAS, image_size=IMAGE_SIZE
    )
    store = ensure_store(request, ["b", "a"], progress=False)
    assert store.tasks == ("b", "a") and store.instructions == ("close it", "open it")
    single = {task: ensure_store(request, [task], progress=False) for task in "ab"}
    records = store.valid[::3]
    gathered = store.gather(records)
    texts = [store.instructions[i] for i in store.instruction_index[records]]
    for row, record in enumerate(records):
        task = store.tasks[store.task_index[record]]
        offset = 0 if task == "b" else len(single["b"])
        alone = single[task].gather(np.array([record - offset]))
        for joined, own in zip(gathered, alone, strict=True):
            np.testing.assert_array_equal(joined[row], own[0])
        episode = store.table["episode"][record]
        assert texts[row] == ("close it" if (task, episode) == ("b", 0) else "open it")


def test_pickled_store_is_small_and_equal(request_: StoreRequest) -> None:
    store = _build(request_)
    store.gather(store.valid[:2])  # opens the memory map
    text = pickle.dumps(store)
    assert len(text) < 2000
    copy = pickle.loads(text)
    np.testing.assert_array_equal(copy.table, store.table)
    np.testing.assert_array_equal(
        copy.gather(store.valid[:4]).depth_code, store.gather(store.valid[:4]).depth_code
    )


def test_damaged_stores_say_how_to_repair(request_: StoreRequest) -> None:
    _build(request_)
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
    assert len(_build(request_).valid)  # a damaged index is simply built again


def test_store_does_not_stand_in_for_a_mistyped_folder(
    request_: StoreRequest, tmp_path: Path
) -> None:
    _build(request_)
    mistyped = dataclasses.replace(request_, data_folder=tmp_path / "nowhere")
    with pytest.raises(DemoError, match="nowhere: no such folder.*built from .*demos"):
        _build(mistyped)
    (tmp_path / "nowhere" / "train" / "other_task" / "all_variations" / "episodes").mkdir(
        parents=True
    )
    with pytest.raises(DemoError, match="holds the tasks other_task"):
        _build(mistyped)


def test_store_of_other_demos_is_neither_used_nor_replaced(
    request_: StoreRequest, tmp_path: Path
) -> None:
    _build(request_)
    before = _built_at(request_)
    write_synthetic_task(tmp_path / "others", task=TASK, episodes=3, seed=50, cameras=CAMERAS)
    others = dataclasses.replace(request_, data_folder=tmp_path / "others")
    with pytest.raises(StoreError, match=r"was built from .*demos.*others.*--refresh_replay"):
        _build(others)
    assert _built_at(request_) == before
    _build(others, refresh=True)
    assert read_index(request_.folder(TASK))["data_folder"] == str(tmp_path / "others")


def test_moved_demos_are_the_same_demos(request_: StoreRequest, tmp_path: Path) -> None:
    _build(request_)
    before = _built_at(request_)
    moved = Path(request_.data_folder).rename(tmp_path / "moved")
    _build(dataclasses.replace(request_, data_folder=moved))
    assert _built_at(request_) == before


def test_fingerprints_tell_demonstrations_apart(request_: StoreRequest) -> None:
    all_of_them = _build(request_).fingerprints()
    assert _build(request_).fingerprints() == all_of_them
    first = dataclasses.replace(request_, demo=1)
    assert open_store(first, [TASK]).fingerprints() != all_of_them
