"""Columns of LeRobot's tables: state, actions and keyframes for policies, arrays, pictures.

Legend: T frames of an episode, A numbers of an action, K keyframes of an episode.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from sam2act.data.exchange import PlainEpisode
from sam2act.data.keyframes_only import COMING_FLAGS
from sam2act.data.lerobot import layout
from sam2act.data.rlbench.dense_actions import pose_actions

# Parts of the state; the first choice that was recorded. With the first one the state is what
# environments of this package report.
_STATES = (
    ("gripper_open", "finger_joints", "gripper_pose", "joint_positions"),
    ("joint_positions", "gripper_open"),
)
_POSE = ("gripper_pose", "gripper_open")
NO_KEYFRAME = -1  # number of the next keyframe after the last one
UNKNOWN = -1.0  # flag that was not recorded
_COMPRESSION = 3  # zlib level of pictures


def png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=_COMPRESSION)
    return stream.getvalue()


def for_policies(episode: PlainEpisode) -> dict[str, np.ndarray]:
    """State and actions as LeRobot's policies read them: float32.

    The state is that of the environments of this package where its parts were recorded, else the
    joints and the gripper, else all numbers but the calibration. Actions that were not recorded
    are the poses and the gripper of the next frame.
    """
    numbers, length = episode.numbers, episode.length
    names = [n for n in numbers if not layout.is_matrix(n) and not n.startswith("misc.")]
    parts = next((choice for choice in _STATES if set(choice) <= set(numbers)), tuple(names))
    columns: dict[str, np.ndarray] = {}
    if parts:
        rows = [numbers[name].reshape(length, -1).astype(np.float32) for name in parts]
        columns[layout.STATE] = np.concatenate(rows, axis=1)
    actions = episode.actions
    if actions is None and set(_POSE) <= set(numbers) and length > 1:
        poses, gripper = (numbers[name].reshape(length, -1) for name in _POSE)
        actions = pose_actions(poses, gripper[:, 0], "ee_pose")
    if actions is not None:
        columns[layout.ACTION] = padded(actions, length).astype(np.float32)
    return columns


def for_keyframe_policies(episode: PlainEpisode) -> dict[str, np.ndarray]:
    """What each frame leads to, as `layout.KEYFRAME` describes it; nothing without poses.

    The next keyframe is the first one after the frame. Frames from the last keyframe on have the
    number `NO_KEYFRAME` and the numbers of the last frame of the episode.
    """
    numbers, length = episode.numbers, episode.length
    if not set(_POSE) <= set(numbers):
        return {}
    keyframes = np.asarray(episode.facts.get("keyframes") or [], np.int64)
    index = np.searchsorted(keyframes, np.arange(length), side="right")
    target = np.append(keyframes, length - 1)[index]
    flags = numbers.get("ignore_collisions", np.full(length, UNKNOWN)).reshape(length)
    coming = episode.facts.get(COMING_FLAGS, flags[np.maximum(target - 1, 0)])
    columns = {
        layout.KEYFRAME_INDEX: np.where(index < len(keyframes), index, NO_KEYFRAME),
        layout.KEYFRAME_FRAME: target,
        layout.KEYFRAME_POSE: numbers["gripper_pose"].reshape(length, -1)[target],
        layout.KEYFRAME_GRIPPER: numbers["gripper_open"].reshape(length)[target],
        layout.KEYFRAME_FLAG: np.asarray(coming),
        layout.FLAG: flags,
    }
    whole = (layout.KEYFRAME_INDEX, layout.KEYFRAME_FRAME)
    return {n: v.astype(np.int64 if n in whole else np.float32) for n, v in columns.items()}


def padded(actions: np.ndarray, length: int) -> np.ndarray:
    """(T, A): the last action repeated where the last frame has none."""
    return np.concatenate([actions, actions[len(actions) - 1 :]])[:length]


def arrow_column(pa: Any, values: np.ndarray) -> Any:
    """A column of (T,), (T, n) or (T, m, n)."""
    kind = pa.from_numpy_dtype(values.dtype)
    if values.ndim == 1:
        return pa.array(values, kind)
    if values.ndim == 2:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.array(values.tolist(), pa.list_(pa.list_(kind)))


def pandas_index() -> dict[str, str]:
    """Metadata by which pandas takes the column of texts for the index."""
    index = {
        "name": None,
        "field_name": "__index_level_0__",
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": None,
    }
    number = {
        "name": "task_index",
        "field_name": "task_index",
        "pandas_type": "int64",
        "numpy_type": "int64",
        "metadata": None,
    }
    names = {
        "name": None,
        "field_name": None,
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": {"encoding": "UTF-8"},
    }
    content = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [names],
        "columns": [number, index],
        "pandas_version": "2.0.0",
    }
    return {"pandas": json.dumps(content)}
