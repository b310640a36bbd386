"""What a build puts into stores."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import read_images
from sam2act.data.rlbench.types import DemoError
from sam2act.data.store.builder import ensure_store, open_store
from sam2act.data.store.request import StoreRequest
from tests.data.store.small_store import (
    TASK,
    build,
    episode_folder,
)
from tests.data.synthetic_demos import (
    CAMERAS,
    IMAGE_SIZE,
    write_synthetic_demo,
    write_synthetic_task,
)


def test_images_and_calibration_are_those_of_the_shown_frame(request_: StoreRequest) -> None:
    store = build(request_)
    records = store.valid[:: max(1, len(store.valid) // 7)]
    gathered = store.gather(records)
    for row, record in enumerate(store.table[records]):
        folder, frame = episode_folder(request_, record["episode"]), record["sample_frame"]
        images = read_images(folder, [int(frame)], CAMERAS, IMAGE_SIZE)[0]
        np.testing.assert_array_equal(gathered.rgb[row], images[0])
        np.testing.assert_array_equal(gathered.depth_code[row], images[1])
    wrist = gathered.extrinsics[:, CAMERAS.index("wrist")]
    assert len(np.unique(wrist.reshape(len(wrist), -1), axis=0)) > 1
    assert gathered.depth_range.dtype == np.float64


def test_each_frame_is_stored_once(request_: StoreRequest) -> None:
    store = build(request_)
    table = store.table[store.valid]
    distinct = np.unique(np.stack([table["episode"], table["sample_frame"]]), axis=1).shape[1]
    assert store.task_stores[0].num_frames == distinct
    pairs = np.stack([table["episode"], table["image_row"]])
    assert np.unique(pairs, axis=1).shape[1] == distinct < len(table)


def test_no_pickles_in_the_store(request_: StoreRequest) -> None:
    build(request_)
    names = {path.name for path in request_.folder(TASK).iterdir()}
    assert names == {"frames.u8", "arrays.safetensors", "index.json"}


def test_fewer_demos_than_requested_warns_with_the_count(request_: StoreRequest, caplog) -> None:
    store = build(dataclasses.replace(request_, demo=100))
    assert "3 of 100 requested demos" in caplog.text
    assert set(store.table["episode"]) == {0, 1, 2}


def test_absent_range_names_the_keys(request_: StoreRequest) -> None:
    with pytest.raises(DemoError, match="demo_start"):
        build(dataclasses.replace(request_, demo_start=50))


def test_named_episodes_only_are_built(request_: StoreRequest) -> None:
    named = dataclasses.replace(request_, numbers=(2, 0))
    store = build(named)
    assert set(store.table["episode"]) == {0, 2} and list(named.episodes) == [2, 0]
    assert [e["episode"] for e in store.task_stores[0].index["episodes"]] == [0, 2]


def _build_in_process(request: StoreRequest) -> None:
    build(request)


def test_two_processes_may_ask_at_once(request_: StoreRequest) -> None:
    context = multiprocessing.get_context("spawn")  # a copy of torch's threads would hang
    processes = [context.Process(target=_build_in_process, args=(request_,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
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
    store = build(request_)
    store.gather(store.valid[:2])  # opens the memory map
    text = pickle.dumps(store)
    assert len(text) < 2000
    copy = pickle.loads(text)
    np.testing.assert_array_equal(copy.table, store.table)
    np.testing.assert_array_equal(
        copy.gather(store.valid[:4]).depth_code, store.gather(store.valid[:4]).depth_code
    )


def test_fingerprints_tell_demonstrations_apart(request_: StoreRequest) -> None:
    all_of_them = build(request_).fingerprints()
    assert build(request_).fingerprints() == all_of_them
    first = dataclasses.replace(request_, demo=1)
    assert open_store(first, [TASK]).fingerprints() != all_of_them
