"""The table of training records of a demo: which frame is shown, which keyframe is the target.

Demo augmentation (paper section 3, "keyframe discovery and demo augmentation"): every tenth frame
starts a chain that visits all later keyframes. Keyframe pairs therefore appear once per start
frame that precedes them, with different time features; the repetition weights the sampling
distribution. Images stay outside: a record refers to frames by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sam2act.core.frames import state_rows
from sam2act.core.specs import FINGER_JOINTS, GRIPPER_OPEN, ROBOT_STATE, TIME_FEATURE_LENGTH

START_EVERY = 10  # frames between two start frames
LAST = 1  # value of `terminal` in the last sampleable record of a chain
PADDING = -1  # and in the record that ends the chain
UNKNOWN_COLLISION = -1  # imported data has no flag of the coming motion

TRANSITION_DTYPE = np.dtype(
    [
        ("episode", np.int32),
        ("initial_frame", np.int32),  # first frame of the chain
        ("time_index", np.int32),  # position in the chain
        ("sample_frame", np.int32),  # frame shown to the policy
        ("keyframe_index", np.int32),  # which keyframe of the demo is the target
        ("target_frame", np.int32),
        ("terminal", np.int8),  # 1 = target is the last keyframe, -1 = padding
        ("gripper_open", np.int8),  # at the target
        ("collision_current", np.int8),  # ignore-collisions flag of the shown frame
        ("collision_next", np.int8),  # flag of the frame before the target
        ("pose", np.float32, (7,)),  # target: metres, then xyzw, world frame
        ("proprioception", np.float32, (4,)),
        ("image_row", np.int32),  # row of the shown frame in the store, -1 for padding
    ]
)


class FrameLabels(NamedTuple):
    """The low-dimensional data of a demo that records are made of."""

    gripper_open: np.ndarray  # (T,) float64
    finger_joints: np.ndarray  # (T, 2) float64, metres
    gripper_pose: np.ndarray  # (T, 7) float64, metres and xyzw
    ignore_collisions: np.ndarray  # (T,) float64


def chain_steps(
    num_frames: int, keyframes: Sequence[int], every: int = START_EVERY
) -> list[tuple[int, int, int, int, int]]:
    """The records of a demo in storage order.

    Returns:
        tuples (initial_frame, time_index, sample_frame, keyframe_index, terminal). Each chain ends
        with a padding record (terminal -1) that shows the last keyframe and repeats its target.
    """
    steps = []
    last = len(keyframes) - 1
    for initial_frame in range(0, num_frames - 1, every):
        first = int(np.searchsorted(keyframes, initial_frame, side="right"))
        if first > last:
            break
        shown = initial_frame
        for index in range(first, last + 1):
            steps.append((initial_frame, index - first, shown, index, int(index == last)))
            shown = keyframes[index]
        steps.append((initial_frame, last + 1 - first, shown, last, PADDING))
    return steps


def shown_frames(num_frames: int, keyframes: Sequence[int], every: int = START_EVERY) -> list[int]:
    """The distinct frames whose images the sampleable records of a demo show, increasing."""
    steps = chain_steps(num_frames, keyframes, every)
    return sorted({shown for _, _, shown, _, terminal in steps if terminal != PADDING})


def build_transitions(
    episode: int,
    labels: FrameLabels,
    keyframes: Sequence[int],
    every: int = START_EVERY,
    *,
    episode_length: int = TIME_FEATURE_LENGTH,
) -> np.ndarray:
    """All records of one demo in storage order, as (N,) array of `TRANSITION_DTYPE`.

    `image_row` counts the frames that are shown. `episode_length` is what the time feature spans.

    Quirk: the released data label a record with the ignore-collisions flag of the shown frame
    (`collision_current`) although the flag of the coming motion is the one of the frame before the
    target (`collision_next`). Both are kept; `peract.collision_label` chooses when sampling.
    """
    num_frames = len(labels.gripper_open)
    steps = np.array(chain_steps(num_frames, keyframes, every), np.int64).reshape(-1, 5)
    initial, time_index, shown, index, terminal = steps.T
    target = np.asarray(keyframes, np.int64)[index]
    table = np.zeros(len(steps), dtype=TRANSITION_DTYPE)
    table["episode"] = episode
    table["initial_frame"] = initial
    table["time_index"] = time_index
    table["sample_frame"] = shown
    table["keyframe_index"] = index
    table["target_frame"] = target
    table["terminal"] = terminal
    table["gripper_open"] = labels.gripper_open[target].astype(np.int8)
    table["collision_current"] = labels.ignore_collisions[shown].astype(np.int8)
    table["collision_next"] = labels.ignore_collisions[target - 1].astype(np.int8)
    table["pose"] = labels.gripper_pose[target]
    state = {
        GRIPPER_OPEN.name: labels.gripper_open[shown],
        FINGER_JOINTS.name: labels.finger_joints[shown],
    }
    table["proprioception"] = state_rows(ROBOT_STATE, state, time_index, episode_length)
    rows = np.searchsorted(shown_frames(num_frames, keyframes, every), shown)
    table["image_row"] = np.where(terminal == PADDING, -1, rows)
    return table


def valid_records(table: np.ndarray) -> np.ndarray:
    """(M,) int64: numbers of the records that may be sampled, i.e. all but the padding ones."""
    return np.flatnonzero(table["terminal"] != PADDING)
