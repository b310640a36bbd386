"""Frames without points: found when a store is built, and against the bounds before training."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import image_path
from sam2act.data.rlbench.types import DemoError, dump_published, load_restricted
from sam2act.data.source import CameraArrays
from sam2act.data.store import bounds_check
from sam2act.data.store.bounds_check import (
    frames_without_points,
    keep_points_inside,
    seeing_cameras,
)
from sam2act.data.store.checks import keep_targets_inside
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import StoreError
from sam2act.geometry.cameras import decode_depth, unproject
from sam2act.geometry.scene_bounds import SceneBounds
from tests.data.store.small_store import TASK, build
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, SCENE_CENTRE

BOUNDS = (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)
ELSEWHERE = (5.0, 5.0, 5.0, 6.0, 6.0, 6.0)


def _change_cameras(request: StoreRequest, episode: int, frames, change) -> None:
    """Applies `change(misc, camera)` to the calibration of some frames of an episode."""
    folder = episodes_folder(request.data_folder, request.split, TASK) / f"episode{episode}"
    demo = load_restricted(folder / "low_dim_obs.pkl")
    for frame in frames:
        for camera in CAMERAS:
            change(demo[frame].misc, camera)
    dump_published(demo, folder / "low_dim_obs.pkl")


def _break_far(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_far"] = float("nan")


def _break_near(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_near"] = misc[f"{camera}_camera_far"]


def _break_intrinsics(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_intrinsics"] = np.zeros((3, 3))


def _break_extrinsics(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_extrinsics"] = np.full((4, 4), np.nan)


def _mirror(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_extrinsics"][:3, 0] *= -1


def _shear(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_extrinsics"][0, 1] += 0.3


def _invert_focal(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_intrinsics"][0, 0] *= -1


def _double(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_intrinsics"][:2] *= 2


def _halve(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_intrinsics"][:2] *= 0.5


def _shift(misc: dict, camera: str) -> None:
    misc[f"{camera}_camera_intrinsics"][:2, 2] = 6


def _blind(request: StoreRequest, camera: str, frames, kind: str = "depth", code: int = 0) -> None:
    """Pictures of episode 1 with the same value in every pixel."""
    folder = episodes_folder(request.data_folder, request.split, TASK) / "episode1"
    for frame in frames:
        path = image_path(folder, camera, kind, frame)
        if path.exists():
            Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (code, code, code)).save(path)


def _move_away(misc: dict, camera: str) -> None:
    pose = misc[f"{camera}_camera_extrinsics"].copy()
    pose[:3, 3] += 50
    misc[f"{camera}_camera_extrinsics"] = pose


# ------------------------------------------------------------------------------ which frames
def _stored(store: KeyframeStore) -> tuple[np.ndarray, CameraArrays]:
    part = store.task_stores[0]
    names = ("depth_range", "intrinsics", "extrinsics")
    return part.depth_code, CameraArrays(*(part.arrays[name] for name in names))


def _clouds(depth_code: np.ndarray, calibration: CameraArrays) -> torch.Tensor:
    """(F, N, 3) all points."""
    near, far = torch.from_numpy(calibration.depth_range).unbind(-1)
    depth = decode_depth(torch.from_numpy(np.array(depth_code)), near, far)
    matrices = (torch.from_numpy(calibration.intrinsics), torch.from_numpy(calibration.extrinsics))
    return unproject(depth, *matrices).flatten(1, 3)


def test_a_single_point_inside_is_found_wherever_it_lies(request_: StoreRequest) -> None:
    depth_code, calibration = _stored(build(request_))
    clouds = _clouds(depth_code, calibration)
    random = np.random.default_rng(0)
    for _ in range(30):
        frame, point = random.integers(len(clouds)), random.integers(clouds.shape[1])
        corner = clouds[frame, point].double().numpy()
        bounds = SceneBounds.from_sequence([*(corner - 1e-4), *(corner + 1e-4)])
        expected = (~bounds.contains(clouds).any(dim=1)).nonzero()[:, 0].tolist()
        assert frame not in expected
        assert frames_without_points(depth_code, calibration, bounds).tolist() == expected


def test_frames_without_finite_points(request_: StoreRequest) -> None:
    depth_code, calibration = _stored(build(request_))
    assert not len(frames_without_points(depth_code, calibration))
    calibration = CameraArrays(*(part.copy() for part in calibration))
    calibration.depth_range[2, :, 1] = np.nan
    calibration.intrinsics[5] = 0
    calibration.extrinsics[7, 0] = np.nan  # the other camera still sees something
    calibration.depth_range[8, :] = (1.0, 1.0)
    assert frames_without_points(depth_code, calibration).tolist() == [2, 5, 8]


def test_every_camera_is_looked_at(request_: StoreRequest) -> None:
    depth_code, calibration = _stored(build(request_))
    depth_code = depth_code.copy()
    depth_code[3, 1] = 0  # nothing measured
    depth_code[5, 0] = 0
    depth_code[5, 0, 7, 9] = depth_code[4, 0, 7, 9]  # one pixel, between those of the sparse pass
    expected = np.ones(depth_code.shape[:2], bool)
    expected[3, 1] = False
    np.testing.assert_array_equal(seeing_cameras(depth_code, calibration), expected)
    assert not len(frames_without_points(depth_code, calibration))


# ------------------------------------------------------------------------------ when building
BROKEN_CALIBRATION = {
    _break_far: "depth_range: expected a far plane .*got nan",
    _break_near: "depth_range: expected a far plane behind the near plane.*got 3.5",
    _break_intrinsics: "intrinsics: expected focal lengths in pixels, not 0 .*, got 0",
    _break_extrinsics: "extrinsics: expected finite entries, got nan",
    _mirror: "extrinsics: expected a rotation without mirroring, got -1",
    _shear: "extrinsics: expected a rigid",
    _invert_focal: "intrinsics: expected focal lengths of one sign",
    _double: "intrinsics: expected the principal point near the middle of .*16 pixels.*got 16",
    _halve: "intrinsics: expected the principal point near the middle of .*16 pixels.*got 4",
}


@pytest.mark.parametrize("change", BROKEN_CALIBRATION)
def test_broken_calibration_stops_the_build(request_: StoreRequest, change) -> None:
    _change_cameras(request_, 1, [10], change)
    with pytest.raises(DemoError, match=BROKEN_CALIBRATION[change]) as raised:
        build(request_)
    message = str(raised.value)
    assert "(frame 10, camera front; " in message and "--skip-bad-episodes" in message
    assert "episode1/low_dim_obs.pkl" in message and "take the camera out" in message
    assert not request_.folder(TASK).exists()


def test_far_principal_points_are_reported_per_camera(request_: StoreRequest, caplog) -> None:
    _change_cameras(request_, 1, range(30), _shift)
    build(request_)
    for camera in CAMERAS:
        assert f"episode 1, frame 0, camera {camera}" in caplog.text
    assert "near the middle of the picture" in caplog.text and "got 6" in caplog.text


def test_empty_cloud_stops_the_build(request_: StoreRequest) -> None:
    for camera in CAMERAS:
        _blind(request_, camera, [10])
    with pytest.raises(DemoError) as raised:
        build(request_)
    message = str(raised.value)
    assert "frame 10 has an empty cloud" in message and "record the episode again" in message
    assert "--skip-bad-episodes" in message
    for name in ("low_dim_obs.pkl", "front_depth/10.png", "wrist_depth/10.png"):
        assert f"episode1/{name}" in message
    assert not request_.folder(TASK).exists()


def test_episode_with_an_empty_cloud_can_be_skipped(request_: StoreRequest, caplog) -> None:
    _change_cameras(request_, 1, [10], _break_far)
    store = build(request_, skip_bad_episodes=True)
    assert set(store.table["episode"]) == {0, 2}
    assert "episode 1 was left out" in caplog.text and "depth_range" in caplog.text


@pytest.mark.parametrize("code", [0, 120, 255])
def test_dead_camera_stops_the_build(request_: StoreRequest, code: int) -> None:
    _blind(request_, "wrist", range(30), code=code)
    with pytest.raises(DemoError, match=r"episode1: camera wrist has the same depth .*cameras"):
        build(request_)


def test_camera_that_fails_at_times_is_reported(request_: StoreRequest, caplog) -> None:
    _blind(request_, "wrist", [0, 10])
    _blind(request_, "front", range(30), kind="rgb")
    assert len(build(request_).valid)
    assert "camera wrist has the same depth in every pixel of 2 of 5 used frames" in caplog.text
    assert "all colour pictures of camera front are black" in caplog.text


def test_frames_that_are_never_shown_may_be_empty(request_: StoreRequest) -> None:
    _change_cameras(request_, 1, [11], _break_far)
    assert len(build(request_).valid)


# ------------------------------------------------------------------------------ against bounds
def test_store_inside_the_bounds_is_returned_as_it_is(request_: StoreRequest) -> None:
    store = build(request_)
    assert keep_points_inside(store, BOUNDS) is store


def test_frame_outside_the_bounds_is_named(request_: StoreRequest) -> None:
    _change_cameras(request_, 2, [12, 20], _move_away)
    with pytest.raises(StoreError) as raised:
        keep_points_inside(build(request_), BOUNDS)
    message = str(raised.value)
    for part in (
        TASK,
        "episode 2, frame 12 (and 1 more frames)",
        "scene_bounds",
        str(list(BOUNDS)),
    ):
        assert part in message
    corner = round(float(SCENE_CENTRE[0]) + 50)
    assert f"lie between [{corner - 1}" in message or f"lie between [{corner}" in message


def test_camera_that_never_shows_the_workspace_is_named(request_: StoreRequest) -> None:
    def move_wrist(misc: dict, camera: str) -> None:
        if camera == "wrist":
            _move_away(misc, camera)

    _change_cameras(request_, 2, range(30), move_wrist)
    store = build(request_)
    for _ in range(2):  # the second time from memory
        with pytest.raises(StoreError, match="episode 2, camera wrist has no point.*lie between"):
            keep_points_inside(store, BOUNDS)
    rest = keep_points_inside(store, BOUNDS, skip_bad_episodes=True)
    assert set(rest.table["episode"]) == {0, 1}


def _move_target(request: StoreRequest, episode: int, frame: int, position) -> None:
    folder = episodes_folder(request.data_folder, request.split, TASK) / f"episode{episode}"
    demo = load_restricted(folder / "low_dim_obs.pkl")
    demo[frame].gripper_pose[:3] = position
    dump_published(demo, folder / "low_dim_obs.pkl")


def test_targets_far_outside_the_bounds_are_refused(request_: StoreRequest) -> None:
    _move_target(request_, 1, 17, (150.0, 0.0, 900.0))  # millimetres
    store = build(request_)
    with pytest.raises(StoreError, match=r"the target \[150.* episode 1, frame 17 lies outside"):
        keep_targets_inside(store, BOUNDS)
    rest = keep_targets_inside(store, BOUNDS, skip_bad_episodes=True)
    assert set(rest.table["episode"]) == {0, 2}


def test_targets_at_the_border_are_reported(request_: StoreRequest, caplog) -> None:
    store = build(request_)
    assert keep_targets_inside(store, BOUNDS) is store and "outside" not in caplog.text
    _move_target(request_, 1, 17, (0.2, 0.55, 1.0))
    store = build(request_)
    assert keep_targets_inside(store, BOUNDS) is store
    assert "episode 1, frame 17 lies outside scene_bounds" in caplog.text


def test_episodes_that_are_not_used_do_not_matter(request_: StoreRequest) -> None:
    _change_cameras(request_, 2, [12], _move_away)
    build(request_)
    part = KeyframeStore.open(request_.store_folder, "train", [TASK], episodes=(0, 1))
    assert keep_points_inside(part, BOUNDS) is part


def test_episodes_outside_the_bounds_can_be_skipped(request_: StoreRequest, caplog) -> None:
    _change_cameras(request_, 1, [12], _move_away)
    store = build(request_)
    rest = keep_points_inside(store, BOUNDS, skip_bad_episodes=True)
    assert set(rest.table["episode"]) == {0, 2} and set(store.table["episode"]) == {0, 1, 2}
    assert "episode 1 was left out: frames [12] and cameras []" in caplog.text
    copy = pickle.loads(pickle.dumps(rest))
    np.testing.assert_array_equal(copy.table, rest.table)
    records = rest.valid[::3]
    of_store = np.flatnonzero(store.table["episode"] != 1)[records]
    np.testing.assert_array_equal(rest.gather(records).rgb, store.gather(of_store).rgb)


def test_bounds_that_no_episode_fits_are_an_error(request_: StoreRequest) -> None:
    with pytest.raises(StoreError, match="scene_bounds"):
        keep_points_inside(build(request_), ELSEWHERE, skip_bad_episodes=True)


def test_checks_are_remembered_until_the_store_changes(request_: StoreRequest, monkeypatch) -> None:
    calls = []
    check = bounds_check.seeing_cameras
    monkeypatch.setattr(bounds_check, "seeing_cameras", lambda *a: calls.append(a) or check(*a))

    def count(store: KeyframeStore, bounds: tuple[float, ...]) -> int:
        before = len(calls)
        try:
            keep_points_inside(store, bounds)
        except StoreError:
            assert bounds == ELSEWHERE
        return len(calls) - before

    store = build(request_)
    build_calls = [count(store, b) for b in (BOUNDS, BOUNDS, ELSEWHERE, ELSEWHERE, BOUNDS)]
    assert build_calls == [1, 0, 1, 0, 0]
    _change_cameras(request_, 2, [12], _move_away)
    with pytest.raises(StoreError, match="episode 2, frame 12"):
        keep_points_inside(build(request_), BOUNDS)
    memory = request_.folder(TASK) / bounds_check.MEMORY_FILE
    memory.write_text("{")
    with pytest.raises(StoreError, match="episode 2, frame 12"):
        keep_points_inside(build(request_), BOUNDS)
    assert {path.name for path in memory.parent.iterdir()} == {
        *("frames.u8", "arrays.safetensors", "index.json", bounds_check.MEMORY_FILE)
    }


def test_check_works_where_nothing_can_be_saved(request_: StoreRequest, monkeypatch) -> None:
    def refuse(*_args, **_options) -> None:
        raise PermissionError("read-only")

    store = build(request_)
    monkeypatch.setattr(Path, "write_text", refuse)
    assert keep_points_inside(store, BOUNDS) is store
    with pytest.raises(StoreError):
        keep_points_inside(store, ELSEWHERE)
