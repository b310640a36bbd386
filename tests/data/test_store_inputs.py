"""Stores of demos that are usable although they differ from PerAct's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.types import (
    DemoError,
    RecordedObservation,
    dump_published,
    load_restricted,
)
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
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
    caplog.clear()
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


# ------------------------------------------------------------------- entries of other kinds
def _change(request: StoreRequest, change: Callable[[int, RecordedObservation], object]) -> None:
    for folder in episodes_folder(request.data_folder, "train", TASK).iterdir():
        demo = load_restricted(folder / "low_dim_obs.pkl")
        for frame, observation in enumerate(demo):
            change(frame, observation)
        dump_published(demo, folder / "low_dim_obs.pkl")


def _misc(kind: str, value: object) -> Callable[[int, RecordedObservation], object]:
    return lambda _, o: o.misc.update({f"front_camera_{kind}": value})


def _set(name: str, value: object) -> Callable[[int, RecordedObservation], object]:
    return lambda frame, o: setattr(o, name, value) if frame >= 3 else None


NO_NUMBERS = {
    "text": (_set("gripper_open", "open"), "gripper_open .*frame 3: .*got 'open'"),
    "bytes": (_set("gripper_open", b"1"), "gripper_open .*frame 3: .*got b'1'"),
    "absent": (_set("joint_velocities", None), "joint_velocities .*frame 3: .*got None"),
    "one": (_set("joint_velocities", 0.2), "joint_velocities .*frame 3: .*7 finite.*got 0.2"),
    "none": (lambda _, o: setattr(o, "joint_velocities", ()), "frame 0: .*in a row, got"),
    "six": (_set("gripper_pose", np.ones(6)), r"frame 3: expected 7 .*shape \(6,\)"),
    "infinite": (_set("gripper_open", np.inf), "frame 3: expected a finite number, got inf"),
    "matrix": (_misc("intrinsics", [["a"] * 3] * 3), "no usable 'front_camera_intrinsics'"),
    "plane": (_misc("far", 4 + 0j), "no usable 'front_camera_far'"),
    "short focal": (
        _misc("intrinsics", np.array([[0.1, 0, 8], [0, 0.1, 8], [0, 0, 1]])),
        "focal lengths in pixels, .* at least 1.6 .*got 0.1 .*camera front",
    ),
    "millimetres": (
        _set("gripper_joint_positions", np.array([40.0, 40.0])),
        r"gripper_joint_positions: expected finger joints in 0\.\.0.04 m, got 40 \(frame 3",
    ),
    "no velocities": (
        lambda _, o: setattr(o, "joint_velocities", np.zeros(7)),
        "joint_velocities are 0 in all .*although the gripper moves.*record them",
    ),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_entries_of_another_kind_are_named(request_: StoreRequest, kind: str) -> None:
    change, message = NO_NUMBERS[kind]
    _change(request_, change)
    with pytest.raises(DemoError, match=r"episode0/low_dim_obs\.pkl: .*" + message):
        ensure_store(request_, [TASK], progress=False)
    assert not request_.folder(TASK).exists()


def test_single_numbers_may_stand_in_arrays(request_: StoreRequest) -> None:
    recorded = ensure_store(request_, [TASK], progress=False).table

    def wrap(_: int, observation: RecordedObservation) -> None:
        for name in ("gripper_open", "ignore_collisions"):
            setattr(observation, name, np.array([getattr(observation, name)]))
        observation.misc["front_camera_far"] = np.array([observation.misc["front_camera_far"]])

    _change(request_, wrap)
    assert (ensure_store(request_, [TASK], progress=False).table == recorded).all()
