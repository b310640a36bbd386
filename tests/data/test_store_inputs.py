"""Stores of demos that are usable although they differ from PerAct's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sam2act.data.demo_folders import episodes_folder
from sam2act.data.rlbench_types import DemoError, dump_published, load_restricted
from sam2act.data.store_builder import StoreRequest, ensure_store
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task

TASK = "open_drawer"


@pytest.fixture
def request_(tmp_path: Path) -> StoreRequest:
    write_synthetic_task(tmp_path / "demos", task=TASK, episodes=3)
    return StoreRequest(
        tmp_path / "demos", tmp_path / "store", demo=3, cameras=CAMERAS, image_size=IMAGE_SIZE
    )


def _drop_collision_flags(folder: Path) -> None:
    demo = load_restricted(folder / "low_dim_obs.pkl")
    for observation in demo:
        del observation.ignore_collisions
    dump_published(demo, folder / "low_dim_obs.pkl")


def test_demos_without_collision_flags_need_an_assumption(request_: StoreRequest) -> None:
    for folder in episodes_folder(request_.data_folder, "train", TASK).iterdir():
        _drop_collision_flags(folder)
    with pytest.raises(
        DemoError,
        match=r"frame 0 has no ignore_collisions.*upstream RLBench.*set "
        "assume_ignore_collisions to False",
    ):
        ensure_store(request_, [TASK], progress=False)
    for assumed in (True, False):  # another value builds again
        request = replace(request_, assume_ignore_collisions=assumed)
        table = ensure_store(request, [TASK], progress=False).table
        assert set(table["collision_current"]) == set(table["collision_next"]) == {int(assumed)}


def test_recorded_collision_flags_are_kept(request_: StoreRequest) -> None:
    recorded = ensure_store(request_, [TASK], progress=False).table
    request = replace(request_, assume_ignore_collisions=True)
    assert (ensure_store(request, [TASK], progress=False).table == recorded).all()


def test_a_store_without_the_entry_is_still_current(request_: StoreRequest, caplog) -> None:
    """Stores built before the option existed say nothing of it."""
    ensure_store(request_, [TASK], progress=False)
    path = request_.folder(TASK) / "index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    del index["assume_ignore_collisions"]
    path.write_text(json.dumps(index), encoding="utf-8")
    caplog.set_level("INFO")
    ensure_store(request_, [TASK], progress=False)
    assert "building" not in caplog.text


def test_episodes_may_have_leading_zeros(request_: StoreRequest) -> None:
    plain = ensure_store(request_, [TASK], progress=False)
    root = episodes_folder(request_.data_folder, "train", TASK)
    for folder in list(root.iterdir()):
        folder.rename(root / f"episode_{int(folder.name.removeprefix('episode')):04}")
    other = ensure_store(request_, [TASK], refresh=True, progress=False)
    assert (other.table == plain.table).all()
    assert (other.task_stores[0].images == plain.task_stores[0].images).all()


@pytest.mark.parametrize(
    ("descriptions", "message"),
    [([" "], "no word in it"), ([None], "NoneType"), ([["open it"]], "got list")],
)
def test_instructions_that_say_nothing_name_the_file(
    request_: StoreRequest, descriptions: list, message: str
) -> None:
    folder = episodes_folder(request_.data_folder, "train", TASK) / "episode1"
    dump_published(descriptions, folder / "variation_descriptions.pkl")
    with pytest.raises(DemoError, match=rf"episode1/variation_descriptions\.pkl: .*{message}"):
        ensure_store(request_, [TASK], progress=False)


def test_instructions_in_bytes_are_read(request_: StoreRequest) -> None:
    for folder in episodes_folder(request_.data_folder, "train", TASK).iterdir():
        dump_published([b"open it"], folder / "variation_descriptions.pkl")
    assert ensure_store(request_, [TASK], progress=False).instructions == ("open it",)


def test_cameras_without_matrices_list_those_with(request_: StoreRequest) -> None:
    request = replace(request_, cameras=("front", "overhead"))
    with pytest.raises(
        DemoError,
        match=r"'overhead_camera_near'; cameras with matrices there: "
        r"front, wrist\. Name only such ones in the key cameras",
    ):
        ensure_store(request, [TASK], progress=False)
