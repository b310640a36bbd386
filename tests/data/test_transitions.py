"""The record table of a demo."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.core.types import proprioception, time_feature
from sam2act.data.transitions import (
    PADDING,
    FrameLabels,
    build_transitions,
    chain_steps,
    shown_frames,
    valid_records,
)


def _labels(num_frames: int) -> FrameLabels:
    random = np.random.default_rng(0)
    return FrameLabels(
        gripper_open=random.integers(0, 2, num_frames).astype(float),
        finger_joints=random.uniform(-0.02, 0.06, (num_frames, 2)),
        gripper_pose=random.standard_normal((num_frames, 7)),
        ignore_collisions=random.integers(0, 2, num_frames).astype(float),
    )


def test_chains_of_a_small_demo() -> None:
    assert chain_steps(25, [10, 24]) == [
        (0, 0, 0, 0, 0),
        (0, 1, 10, 1, 1),
        (0, 2, 24, 1, PADDING),
        (10, 0, 10, 1, 1),  # a start frame on a keyframe targets the next one
        (10, 1, 24, 1, PADDING),
        (20, 0, 20, 1, 1),
        (20, 1, 24, 1, PADDING),
    ]


def test_last_frame_starts_no_chain() -> None:
    assert {step[0] for step in chain_steps(21, [20])} == {0, 10}


@pytest.mark.parametrize("seed", range(20))
def test_chain_invariants(seed: int) -> None:
    random = np.random.default_rng(seed)
    num_frames = int(random.integers(5, 130))
    keyframes = sorted({*random.integers(1, num_frames, 5).tolist(), num_frames - 1})
    table = build_transitions(3, _labels(num_frames), keyframes)
    valid = table[valid_records(table)]
    assert (valid["sample_frame"] < valid["target_frame"]).all()
    assert (valid["initial_frame"] <= valid["sample_frame"]).all()
    assert set(valid["target_frame"]) == set(keyframes)
    for start in np.unique(table["initial_frame"]):
        chain = table[table["initial_frame"] == start]
        assert chain["time_index"].tolist() == list(range(len(chain)))
        assert chain["terminal"].tolist() == [0] * (len(chain) - 2) + [1, PADDING]
        assert chain["target_frame"][:-1].tolist() == [k for k in keyframes if k > start]
        assert chain["sample_frame"][1:-1].tolist() == chain["target_frame"][:-2].tolist()
        assert chain[-1]["sample_frame"] == keyframes[-1]
        assert chain[-1]["target_frame"] == chain[-2]["target_frame"]
    frames = shown_frames(num_frames, keyframes)
    assert valid["sample_frame"].tolist() == [frames[row] for row in valid["image_row"]]
    assert (table["image_row"][table["terminal"] == PADDING] == -1).all()


def test_labels_come_from_the_right_frames() -> None:
    labels = _labels(40)
    table = build_transitions(0, labels, [7, 22, 39])
    for record in table:
        shown, target = record["sample_frame"], record["target_frame"]
        assert record["collision_current"] == labels.ignore_collisions[shown]
        assert record["collision_next"] == labels.ignore_collisions[target - 1]
        assert record["gripper_open"] == labels.gripper_open[target]
        np.testing.assert_array_equal(
            record["pose"], labels.gripper_pose[target].astype(np.float32)
        )
        assert record["proprioception"][0] == labels.gripper_open[shown]
    assert (table["collision_current"] != table["collision_next"]).any()


def test_time_feature() -> None:
    assert time_feature(0) == 1.0 and time_feature(24) == -1.0
    assert time_feature(1) == pytest.approx(0.9166667)
    assert time_feature(12, 25) == 0.0
    assert time_feature(2, 5) == 0.0


def test_proprioception_clips_the_fingers() -> None:
    values = proprioception(1.0, np.array([-0.01, 0.05]), 0, 25)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.array([1.0, 0.0, 0.04, 1.0], np.float32))
