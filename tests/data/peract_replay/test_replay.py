"""Importing released replay folders."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sam2act.data.loader import KeyframeDataset
from sam2act.data.peract_replay.colours import ColourReader
from sam2act.data.peract_replay.files import ReplayError
from sam2act.data.peract_replay.replay import ReplayRequest, import_replay, open_replay
from sam2act.data.rlbench.types import DemoError
from sam2act.data.samplers import build_sampler
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import StoreError
from sam2act.data.transitions import PADDING
from tests.data.peract_replay.replay_writer import assert_same_samples, write_replay
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task

TASK = "open_drawer"


@pytest.fixture
def original(tmp_path: Path) -> KeyframeStore:
    write_synthetic_task(tmp_path / "demos", task=TASK, episodes=[0, 3])
    request = StoreRequest(
        tmp_path / "demos", tmp_path / "store", demo=4, cameras=CAMERAS, image_size=IMAGE_SIZE
    )
    return ensure_store(request, [TASK], progress=False)


@pytest.fixture
def request_(tmp_path: Path) -> ReplayRequest:
    return ReplayRequest(
        tmp_path / "replay", tmp_path / "imported", cameras=CAMERAS, image_size=IMAGE_SIZE
    )


def _import(request: ReplayRequest, **options) -> KeyframeStore:
    return import_replay(request, [TASK], progress=False, **options)


@pytest.mark.parametrize("temporal", [True, False])
def test_imported_samples_equal_those_of_the_demos(
    original: KeyframeStore, request_: ReplayRequest, temporal: bool
) -> None:
    write_replay(Path(request_.replay_folder) / TASK, original, temporal=temporal)
    imported = _import(request_)
    assert_same_samples(imported, original)
    for mode in ("task_uniform", "demo_uniform_temporal"):
        samplers = [build_sampler(mode, s, bs=8, seed=1, window=2) for s in (imported, original)]
        np.testing.assert_array_equal(*(sampler.records(4, 0, 8) for sampler in samplers))


def test_import_is_done_once(original: KeyframeStore, request_: ReplayRequest, caplog) -> None:
    write_replay(Path(request_.replay_folder) / TASK, original)
    caplog.set_level(logging.INFO)
    _import(request_)
    _import(request_)
    assert caplog.text.count("importing") == 1
    _import(request_, refresh=True)
    assert caplog.text.count("importing") == 2


def test_other_replay_of_as_many_records_is_imported(
    original: KeyframeStore, request_: ReplayRequest, tmp_path: Path
) -> None:
    write_replay(Path(request_.replay_folder) / TASK, original)
    _import(request_)
    other = dataclasses.replace(request_, replay_folder=tmp_path / "other")
    write_replay(tmp_path / "other" / TASK, original)
    for number in original.valid.tolist():
        _change_record(tmp_path / "other" / TASK, number, lang_goal=np.array(["another text"]))
    assert _import(other).instructions == ("another text",)
    assert _import(request_).instructions == original.instructions


@pytest.mark.parametrize("changed", ["time", "size", "terminal"])
def test_changed_replay_files_are_imported_again(
    original: KeyframeStore, request_: ReplayRequest, caplog, changed: str
) -> None:
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    _import(request_)
    caplog.set_level(logging.INFO)
    caplog.clear()
    record = folder / "1.replay"
    status = record.stat()
    if changed == "time":
        os.utime(record, ns=(1, 1))
    elif changed == "size":
        record.write_bytes(record.read_bytes() + b" ")
        os.utime(record, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        np.save(folder / "replay_info.npy", np.append(original.table["terminal"], np.int8(0)))
    _import(request_)
    assert caplog.text.count("importing") == 1


def test_fewer_episodes_than_requested_warns_with_the_count(
    original: KeyframeStore, request_: ReplayRequest, caplog
) -> None:
    write_replay(Path(request_.replay_folder) / TASK, original)
    _import(request_)
    open_replay(request_, [TASK], episodes=(0, 3))
    assert "requested" not in caplog.text
    open_replay(request_, [TASK], episodes=range(100))
    assert f"train/{TASK}: 2 of 100 requested demos are there (demo: 100)" in caplog.text


def test_import_of_another_form_is_not_read(
    original: KeyframeStore, request_: ReplayRequest
) -> None:
    write_replay(Path(request_.replay_folder) / TASK, original)
    _import(request_)
    with pytest.raises(StoreError, match=r"cameras front, .* but cameras wrist with"):
        open_replay(dataclasses.replace(request_, cameras=("wrist",)), [TASK])


def test_missing_replay_leaves_nothing_behind(request_: ReplayRequest) -> None:
    with pytest.raises(ReplayError, match="replay_folder"):
        _import(request_)
    assert not Path(request_.store_folder).exists()


def test_frames_are_stored_once(original: KeyframeStore, request_: ReplayRequest) -> None:
    write_replay(Path(request_.replay_folder) / TASK, original)
    imported = _import(request_)
    assert imported.task_stores[0].num_frames == original.task_stores[0].num_frames


def test_flag_of_the_coming_motion_is_not_available(
    original: KeyframeStore, request_: ReplayRequest
) -> None:
    write_replay(Path(request_.replay_folder) / TASK, original)
    imported = _import(request_)
    sampler = build_sampler("task_uniform", imported, bs=4, seed=0)
    with pytest.raises(StoreError, match=r"peract\.collision_label.*build the store from demos"):
        KeyframeDataset(imported, sampler, bs=4, collision_label="next_keypoint")


def test_import_and_demos_have_folders_of_their_own(
    original: KeyframeStore, request_: ReplayRequest, tmp_path: Path, caplog
) -> None:
    """Both may use one store folder, task and split without building again in turn."""
    shared = dataclasses.replace(request_, store_folder=tmp_path / "store")
    write_replay(Path(shared.replay_folder) / TASK, original)
    demos = StoreRequest(
        tmp_path / "demos", tmp_path / "store", demo=4, cameras=CAMERAS, image_size=IMAGE_SIZE
    )
    _import(shared)
    caplog.set_level(logging.INFO)
    caplog.clear()
    ensure_store(demos, [TASK], progress=False)
    imported = _import(shared)
    assert "building the frame store" not in caplog.text and "importing" not in caplog.text
    assert imported.task_stores[0].folder == tmp_path / "store" / "replay" / "train" / TASK
    assert imported.task_stores[0].index["origin"] == "published replay"
    only = open_replay(shared, [TASK], episodes=(3,))
    assert set(only.table["episode"]) == {3}


@pytest.mark.parametrize("temporal", [True, False])
def test_last_record_of_the_buffer_is_never_sampled(
    original: KeyframeStore, request_: ReplayRequest, temporal: bool
) -> None:
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original, temporal=temporal)
    last = len(original) - 1
    assert original.table["terminal"][last] == PADDING
    (folder / f"{last}.replay").unlink()  # the buffer now ends with a sampleable record
    imported = _import(request_)
    assert original.valid[-1] == last - 1
    np.testing.assert_array_equal(imported.valid, original.valid[:-1])
    ends = imported.table[imported.valid[-1]], original.table[original.valid[-2]]
    assert ends[0]["target_frame"] == ends[1]["target_frame"]


def test_folder_without_a_sampleable_record(
    original: KeyframeStore, request_: ReplayRequest
) -> None:
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    for number in range(1, len(original)):
        (folder / f"{number}.replay").unlink()
    with pytest.raises(ReplayError, match="no record that can be sampled"):
        _import(request_)


def _change_record(folder: Path, number: int, **changes) -> None:
    path = folder / f"{number}.replay"
    content = pickle.loads(path.read_bytes()) | changes
    path.write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoint_idx": None}, "keypoint_idx"),
        ({"gripper_pose": None, "low_dim_state": None}, "gripper_pose, low_dim_state"),
        ({"front_camera_intrinsics": np.ones(3)}, "front"),
        ({f"{c}_camera_extrinsics": np.full((4, 4), np.nan) for c in CAMERAS}, "finite"),
        ({f"{c}_depth": np.zeros((1, 16, 16)) for c in CAMERAS}, "empty cloud"),
        ({"wrist_depth": np.full((1, 16, 16), np.nan)}, "0..100 .*got nan .*camera wrist"),
        ({"wrist_depth": np.full((1, 16, 16), 1200)}, "convert millimetres.*camera wrist"),
        ({"wrist_depth": np.full((1, 16, 16), -0.1)}, "got -0.1"),
        ({"front_camera_intrinsics": np.zeros((3, 3))}, "focal lengths .*camera front"),
        ({"front_camera_intrinsics": np.diag([14.0, -14, 1])}, "of one sign"),
        ({"front_camera_extrinsics": np.diag([1.0, 1, -1, 1])}, "without mirroring"),
        ({"rot_grip_action_indicies": np.array([0, 0, 0, 255])}, "gripper.*0 or 1, got 255"),
        ({"rot_grip_action_indicies": np.array([0, 0, 0, 0.5])}, "0 or 1, got 0.5"),
        ({"low_dim_state": np.array([0.97, 0.04, 0.04, 1.0])}, "gripper open .*got 0.97"),
        ({"ignore_collisions": np.array([0.5])}, "ignore_collisions.*got 0.5"),
        ({"gripper_pose": np.array([0.1, 0, 1, 0, 0, 0, 0])}, "gripper_pose.*norm 1, not 0"),
        ({"gripper_pose": np.array([0.1, 0, 1, 180.0, 0, 45, 0])}, "Euler angles"),
        ({"gripper_pose": np.ones(6)}, "gripper_pose holds .*shape .6,.* instead of 7 numbers"),
        ({"gripper_pose": "none"}, "gripper_pose holds 'none' instead of 7 numbers"),
        ({"sample_frame": np.nan}, "sample_frame is nan, not a whole number"),
        ({"next_keypoint_frame": "last"}, "next_keypoint_frame is 'last', not a whole number"),
        ({"front_depth": "lost"}, r"front_depth is 'lost' instead of \(1, 16, 16\)"),
        ({"front_camera_intrinsics": "x"}, r"front_camera_intrinsics is 'x' instead of \(3, 3\)"),
        ({"front_rgb": np.zeros((16, 16, 3), np.uint8)}, r"shape \(16, 16, 3\).*of \(3, 16, 16\)"),
        ({"front_rgb": np.zeros((3, 24, 24), np.uint8)}, "set image_size, which is 16"),
        ({"low_dim_state": np.array([1, 40.0, 40.0, 1])}, "finger joints .*got 40"),
        ({"front_rgb": np.full((3, 16, 16), 300)}, "in 0..255 as in all pictures, got 300"),
        ({"front_rgb": np.full((3, 16, 16), np.nan)}, "rgb: expected colours"),
    ],
)
def test_damaged_records_name_the_file(
    original: KeyframeStore, request_: ReplayRequest, changes: dict, message: str
) -> None:
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    _change_record(folder, 1, **changes)
    with pytest.raises(ReplayError, match=message) as raised:
        _import(request_)
    assert "1.replay" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("replay_info.npy", np.zeros((99, 2))),
        ("replay_info.npy", np.float64(1)),
        ("replay_info.npy", np.full(99, np.nan)),
        ("init_frame_to_idx.pkl", {0: {0: None}}),
        ("init_frame_to_idx.pkl", {"a": {"b": ["c"]}}),
        ("init_frame_to_idx.pkl", [0]),
    ],
)
def test_foreign_lists_of_records_are_refused(
    original: KeyframeStore, request_: ReplayRequest, name: str, content
) -> None:
    path = Path(request_.replay_folder) / TASK / name
    write_replay(path.parent, original)
    if path.suffix == ".npy":
        np.save(path, content)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ReplayError, match=f"{name}: holds .*unpack the archive again"):
        _import(request_)


@pytest.mark.parametrize("name", ["0007.replay", "²5.replay", "7.replay.bak"])
def test_files_with_other_names_are_no_records(
    original: KeyframeStore, request_: ReplayRequest, name: str
) -> None:
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    (folder / name).write_bytes(b"")
    assert_same_samples(_import(request_), original)


@pytest.mark.parametrize(
    "encoding",
    [
        lambda rgb: rgb.astype(np.float32) / 255,
        lambda rgb: rgb.astype(np.float64) / 127.5 - 1,
        lambda rgb: rgb.astype(np.float64),
        lambda rgb: rgb.astype(np.int64),
    ],
    ids=["0..1", "-1..1", "0..255", "integers"],
)
def test_pictures_of_other_numbers_are_scaled(
    original: KeyframeStore, request_: ReplayRequest, encoding, caplog
) -> None:
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    for number in range(len(original.table)):
        record = pickle.loads((folder / f"{number}.replay").read_bytes())
        keys = [f"{camera}_rgb" for camera in CAMERAS]
        _change_record(folder, number, **{key: encoding(record[key]) for key in keys})
    assert_same_samples(_import(request_), original)
    assert ("is scaled to 0..255" in caplog.text) == (encoding(np.ones(1)).dtype.kind == "f")


def test_pictures_of_two_ranges_are_refused() -> None:
    reader, pictures = ColourReader(), np.linspace(0, 1, 12).reshape(1, 2, 2, 3)
    ready = np.full((2, 2, 3), 7, np.uint8)
    assert reader.to_bytes(np.zeros((1, 2, 2, 3))).max() == 0  # black tells nothing
    assert reader.to_bytes([pictures[0], ready]).max(axis=(1, 2, 3)).tolist() == [255, 7]
    with pytest.raises(ValueError, match=r"0\.\.1 as in all pictures, got -1 to 1"):
        reader.to_bytes(2 * pictures - 1)


def test_camera_that_is_dead_in_a_replay_is_named(
    original: KeyframeStore, request_: ReplayRequest
) -> None:
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    for number in range(len(original.table)):
        _change_record(folder, number, wrist_depth=np.full((1, 16, 16), 3.5))
    with pytest.raises(ReplayError, match=r"camera wrist has the same depth"):
        _import(request_)


class _Attack:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_malicious_record_is_refused(
    original: KeyframeStore, request_: ReplayRequest, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    (folder / "4.replay").write_bytes(pickle.dumps({"sample_frame": _Attack()}))
    with pytest.raises(DemoError, match=r"4\.replay"):
        _import(request_)
    assert not (tmp_path / "pwned").exists()


def test_broken_folders_name_the_file(original: KeyframeStore, request_: ReplayRequest) -> None:
    with pytest.raises(ReplayError, match="replay_folder"):
        _import(request_)
    folder = Path(request_.replay_folder) / TASK
    write_replay(folder, original)
    wrong_size = ReplayRequest(
        request_.replay_folder, request_.store_folder, cameras=CAMERAS, image_size=8
    )
    with pytest.raises(ReplayError, match="image_size"):
        _import(wrong_size)
    other_camera = ReplayRequest(
        request_.replay_folder, request_.store_folder, cameras=("top",), image_size=IMAGE_SIZE
    )
    with pytest.raises(ReplayError, match="cameras"):
        _import(other_camera)
    groups = pickle.loads((folder / "init_frame_to_idx.pkl").read_bytes())
    groups[3][10] = groups[3][0]
    (folder / "init_frame_to_idx.pkl").write_bytes(pickle.dumps(groups))
    with pytest.raises(ReplayError, match=r"init_frame_to_idx\.pkl"):
        _import(request_)
    (folder / "3.replay").unlink()
    with pytest.raises(ReplayError, match="gaps"):
        _import(request_)
