"""What the robot's recorded numbers must mean, and what a threshold makes of gripper states."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.types import (
    DemoError,
    RecordedObservation,
    dump_published,
    load_restricted,
)
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import StoreError
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, KEYFRAMES, write_synthetic_task

TASK = "open_drawer"
Change = Callable[[int, RecordedObservation], object]


@pytest.fixture
def request_(tmp_path: Path) -> StoreRequest:
    write_synthetic_task(tmp_path / "demos", task=TASK, episodes=2)
    return StoreRequest(
        tmp_path / "demos", tmp_path / "store", demo=2, cameras=CAMERAS, image_size=IMAGE_SIZE
    )


def _build(request: StoreRequest) -> KeyframeStore:
    return ensure_store(request, [TASK], progress=False)


def _change(request: StoreRequest, change: Change) -> None:
    """Applies `change(frame, observation)` to all frames of both episodes."""
    for number in range(2):
        path = episodes_folder(request.data_folder, "train", TASK) / f"episode{number}"
        demo = load_restricted(path / "low_dim_obs.pkl")
        for frame, observation in enumerate(demo):
            change(frame, observation)
        dump_published(demo, path / "low_dim_obs.pkl")


def _assert_same_table(store: KeyframeStore, expected: np.ndarray) -> None:
    for name in expected.dtype.names or ():
        np.testing.assert_array_equal(store.table[name], expected[name], err_msg=name)


# ------------------------------------------------------------------------------------- gripper
RANDOM = np.random.default_rng(0)
CONTINUOUS: dict[str, tuple[Callable[[float], float], str, float]] = {
    "fraction": (lambda g: 0.97 if g else 0.03, "0.5", 0.5),
    "noise": (lambda g: (0.97 if g else 0.03) + RANDOM.normal(0, 0.005), "0.5", 0.5),
    "sign": (lambda g: 1.0 if g else -1.0, "0", 0.0),
    "counts": (lambda g: 850.0 if g else 20.0, "4[34]0", 435.0),
    "width": (lambda g: 0.078 if g else 0.021, r"0\.05", 0.05),
    "bytes": (lambda g: 255.0 * g, "130", 127.0),
}


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_continuous_gripper_states_need_a_threshold(request_: StoreRequest, kind: str) -> None:
    scale, suggested, threshold = CONTINUOUS[kind]
    expected = _build(request_).table.copy()
    _change(request_, lambda _, o: setattr(o, "gripper_open", scale(o.gripper_open)))
    message = (
        r"episode0/low_dim_obs\.pkl: gripper_open: expected 0 or 1, got .*\(frame \d+; .*"
        rf"set gripper_threshold to {suggested} \("
    )
    with pytest.raises(DemoError, match=message):
        _build(request_)
    store = _build(dataclasses.replace(request_, gripper_threshold=threshold))
    _assert_same_table(store, expected)  # keyframes, labels and input feature


@pytest.mark.parametrize(
    "kind", [bool, np.int64, np.float32, lambda g: np.array(g), lambda g: g + 1e-7]
)
def test_other_number_types_of_two_states_are_the_same(request_: StoreRequest, kind) -> None:
    expected = _build(request_).table.copy()

    def change(_: int, o: RecordedObservation) -> None:
        o.gripper_open = kind(o.gripper_open)
        o.ignore_collisions = kind(float(o.ignore_collisions))

    _change(request_, change)
    _assert_same_table(_build(request_), expected)


def test_threshold_belongs_to_the_store(request_: StoreRequest, tmp_path: Path, caplog) -> None:
    _build(request_)
    caplog.set_level("INFO")
    _build(dataclasses.replace(request_, gripper_threshold=0.5))
    assert "gripper_threshold changed from None to 0.5" in caplog.text
    moved = dataclasses.replace(
        request_, gripper_threshold=0.7, data_folder=tmp_path / "nowhere", store_alone=True
    )
    with pytest.raises(StoreError, match=r"gripper_threshold changed from 0\.5 to 0\.7"):
        _build(moved)


def test_threshold_beside_all_states_is_reported(request_: StoreRequest, caplog) -> None:
    _build(dataclasses.replace(request_, gripper_threshold=40.0))
    assert "gripper_threshold 40: the gripper is closed at every target" in caplog.text


def test_collision_flags_are_zero_or_one(request_: StoreRequest) -> None:
    _change(request_, lambda f, o: setattr(o, "ignore_collisions", 0.5 if f == 11 else 0.0))
    with pytest.raises(DemoError, match=r"ignore_collisions: expected 0 or 1, got 0\.5 \(frame 11"):
        _build(request_)


# ---------------------------------------------------------------------------------------- poses
def _euler(degrees: bool) -> Change:
    def change(_: int, o: RecordedObservation) -> None:
        angles = Rotation.from_quat(o.gripper_pose[3:]).as_euler("xyz", degrees=degrees)
        o.gripper_pose[3:] = [*angles, 0.0]

    return change


def _constant(*values: float) -> Change:
    return lambda _, o: o.gripper_pose.__setitem__(slice(3, 7), values)


NO_QUATERNIONS: dict[str, Change] = {
    "zero at a keyframe": lambda f, o: o.gripper_pose.__imul__([1] * 3 + [f != KEYFRAMES[1]] * 4),
    "zero everywhere": _constant(0, 0, 0, 0),
    "angles in degrees": _euler(True),
    "angles in radians": _euler(False),
    "constant degrees": _constant(180, 0, 45, 0),
    "constant radians": _constant(np.pi, 0, np.pi / 4, 0),
    "constant small radians": _constant(0, 0, np.pi / 2, 0),
    "not finite": lambda f, o: o.gripper_pose.__setitem__(4, np.nan if f == 3 else 0.1),
}


@pytest.mark.parametrize("kind", NO_QUATERNIONS)
def test_what_is_no_quaternion_is_refused(request_: StoreRequest, kind: str) -> None:
    _change(request_, NO_QUATERNIONS[kind])
    with pytest.raises(DemoError, match=r"episode0/low_dim_obs\.pkl: gripper_pose.*frame \d+"):
        _build(request_)


QUATERNIONS: dict[str, Change] = {
    "doubled": lambda _, o: o.gripper_pose.__imul__([1] * 3 + [2.0] * 4),
    "halved": lambda _, o: o.gripper_pose.__imul__([1] * 3 + [0.5] * 4),
    "flipped": lambda f, o: o.gripper_pose.__imul__([1] * 3 + [1 - 2 * (f % 2)] * 4),
    "rounded": lambda _, o: setattr(o, "gripper_pose", o.gripper_pose.round(2)),
    "half precision": lambda _, o: setattr(o, "gripper_pose", o.gripper_pose.astype(np.float16)),
    "downwards": _constant(0, 1, 0, 0),
    "no rotation": _constant(0, 0, 0, 1),
}


@pytest.mark.parametrize("kind", QUATERNIONS)
def test_quaternions_of_any_sign_and_scale_are_taken(request_: StoreRequest, kind: str) -> None:
    _change(request_, QUATERNIONS[kind])
    assert len(_build(request_).valid)
