"""When stores are reused, and when they are built again."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.demo_images import image_path
from sam2act.data.rlbench.types import DemoError, dump_published
from sam2act.data.store.builder import open_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.task_store import ImageForm, StoreError, read_index
from tests.data.store.small_store import (
    TASK,
    build,
    built_at,
    episode_folder,
)
from tests.data.synthetic_demos import (
    CAMERAS,
    IMAGE_SIZE,
    write_synthetic_demo,
    write_synthetic_task,
)


def test_unchanged_demos_are_reused(request_: StoreRequest) -> None:
    build(request_)
    before = built_at(request_)
    build(request_)
    assert built_at(request_) == before
    build(request_, refresh=True)
    assert built_at(request_) != before


def _touch_image(request: StoreRequest) -> None:
    path = image_path(episode_folder(request, 1), "front", "rgb", 10)
    os.utime(path, ns=(1, 1))


def _change_pickle(request: StoreRequest) -> None:
    dump_published(
        ["another instruction"], episode_folder(request, 2) / "variation_descriptions.pkl"
    )


def _add_episode(request: StoreRequest) -> None:
    write_synthetic_demo(episode_folder(request, 1), seed=33)


def _rename_episode(request: StoreRequest) -> None:
    episode_folder(request, 2).rename(episode_folder(request, 7))


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
    build(request_)
    change(request_)
    caplog.set_level(logging.INFO)
    caplog.clear()
    before = built_at(request_)
    build(request_)
    assert built_at(request_) != before
    lines = [r.message for r in caplog.records if r.message.startswith("building")]
    assert len(lines) == 1 and reason in lines[0]


def test_a_change_of_an_unused_image_is_no_reason(request_: StoreRequest) -> None:
    build(request_)
    before = built_at(request_)
    path = image_path(episode_folder(request_, 0), "front", "rgb", 1)
    path.write_bytes(b"never read")
    build(request_)
    assert built_at(request_) == before


def test_changed_settings_are_rebuilt(request_: StoreRequest, caplog) -> None:
    build(request_)
    caplog.set_level(logging.INFO)
    store = build(dataclasses.replace(request_, cameras=("wrist",)))
    assert store.cameras == ("wrist",) and store.gather(store.valid[:2]).rgb.shape[1] == 1
    assert "cameras changed" in caplog.text


def test_store_of_another_form_is_not_read(request_: StoreRequest) -> None:
    """Another run may rebuild a shared folder with its own settings between build and opening."""
    build(dataclasses.replace(request_, cameras=("wrist",)))
    with pytest.raises(StoreError, match=r"wrist with .* but cameras front, .*store_folder") as e:
        open_store(request_, [TASK])
    assert str(request_.folder(TASK)) in str(e.value)
    build(request_)
    other_size = dataclasses.replace(request_, image_size=IMAGE_SIZE + 1)
    with pytest.raises(StoreError, match=f"image_size {IMAGE_SIZE}, .*image_size {IMAGE_SIZE + 1}"):
        open_store(other_size, [TASK])
    assert open_store(request_, [TASK]).task_stores[0].form == ImageForm(CAMERAS, IMAGE_SIZE)


def test_worker_does_not_read_the_rebuild_of_another_run(request_: StoreRequest) -> None:
    sent = pickle.dumps(build(request_))
    assert len(pickle.loads(sent)) > 0
    build(dataclasses.replace(request_, cameras=("wrist",)))
    with pytest.raises(StoreError, match="store_folder"):
        pickle.loads(sent)


def test_open_store_keeps_its_images_through_a_rebuild(request_: StoreRequest) -> None:
    """Episode 0 joins the folder, which moves every frame of the others."""
    later = dataclasses.replace(request_, demo=2, demo_start=1)
    opened = build(later)
    reference = build(later).gather(opened.valid).rgb
    build(request_)
    np.testing.assert_array_equal(opened.gather(opened.valid).rgb, reference)


def test_store_to_restore_serves_without_its_demos(request_: StoreRequest, tmp_path: Path) -> None:
    build(request_)
    request_.folder(TASK).rename(request_.folder(TASK).with_name(f".{TASK}.replaced"))
    assert len(
        build(
            dataclasses.replace(request_, data_folder=tmp_path / "nowhere", store_alone=True)
        ).valid
    )


def test_episode_range_and_shared_store(request_: StoreRequest) -> None:
    """Training and held-out demos of one split share a folder without rebuilding in turn."""
    training = dataclasses.replace(request_, demo=2)
    held_out = dataclasses.replace(request_, demo=1, demo_start=2)
    assert set(build(training).table["episode"]) == {0, 1}
    assert set(build(held_out).table["episode"]) == {2}
    before = built_at(request_)
    assert set(build(training).table["episode"]) == {0, 1}
    assert set(build(held_out).table["episode"]) == {2}
    assert built_at(request_) == before


@pytest.mark.parametrize("moved", [False, True])
def test_absent_named_episode_is_an_error(request_: StoreRequest, tmp_path: Path, moved) -> None:
    build(request_)
    folder = tmp_path / "nowhere" if moved else request_.data_folder
    named = dataclasses.replace(request_, numbers=(0, 7, 99), data_folder=folder, store_alone=moved)
    with pytest.raises(DemoError, match=r"no episode 7, 99.*--episodes.*0, 1, 2") as raised:
        build(named)
    assert "demo_start" not in str(raised.value)


def test_store_without_its_demos_warns_with_the_count(
    request_: StoreRequest, tmp_path: Path, caplog
) -> None:
    build(request_)
    build(dataclasses.replace(request_, demo=5, data_folder=tmp_path / "nowhere", store_alone=True))
    assert "3 of 5 requested demos" in caplog.text


def test_store_serves_without_its_demos(request_: StoreRequest, tmp_path: Path) -> None:
    build(request_)
    moved = dataclasses.replace(request_, data_folder=tmp_path / "nowhere", store_alone=True)
    assert len(build(moved).valid)
    with pytest.raises(StoreError, match="image_size"):
        build(dataclasses.replace(moved, image_size=32))
    with pytest.raises(DemoError, match="data_folder"):
        build(dataclasses.replace(moved, store_folder=tmp_path / "empty"))


def test_store_does_not_stand_in_for_a_mistyped_folder(
    request_: StoreRequest, tmp_path: Path
) -> None:
    build(request_)
    mistyped = dataclasses.replace(request_, data_folder=tmp_path / "nowhere")
    with pytest.raises(DemoError, match="nowhere: no such folder.*built from .*demos"):
        build(mistyped)
    (tmp_path / "nowhere" / "train" / "other_task" / "all_variations" / "episodes").mkdir(
        parents=True
    )
    with pytest.raises(DemoError, match="holds the tasks other_task"):
        build(mistyped)


def test_store_of_other_demos_is_neither_used_nor_replaced(
    request_: StoreRequest, tmp_path: Path
) -> None:
    build(request_)
    before = built_at(request_)
    write_synthetic_task(tmp_path / "others", task=TASK, episodes=3, seed=50, cameras=CAMERAS)
    others = dataclasses.replace(request_, data_folder=tmp_path / "others")
    with pytest.raises(StoreError, match=r"was built from .*demos.*others.*--refresh_replay"):
        build(others)
    assert built_at(request_) == before
    build(others, refresh=True)
    assert read_index(request_.folder(TASK))["data_folder"] == str(tmp_path / "others")


def test_moved_demos_are_the_same_demos(request_: StoreRequest, tmp_path: Path) -> None:
    build(request_)
    before = built_at(request_)
    moved = Path(request_.data_folder).rename(tmp_path / "moved")
    build(dataclasses.replace(request_, data_folder=moved))
    assert built_at(request_) == before
