"""Columns of LeRobot's tables: state and actions for its policies, arrays, pictures.

Legend: T frames of an episode, A numbers of an action.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from sam2act.data.exchange import PlainEpisode
from sam2act.data.lerobot import layout
from sam2act.data.rlbench.dense_actions import pose_actions

_STATE = ("joint_positions", "gripper_open")  # of the state, where both were recorded
_POSE = ("gripper_pose", "gripper_open")
_COMPRESSION = 3  # zlib level of pictures


def png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=_COMPRESSION)
    return stream.getvalue()


def for_policies(episode: PlainEpisode) -> dict[str, np.ndarray]:
    """State and actions as LeRobot's policies read them: float32.

    The state is the joints and the gripper where both were recorded, else all numbers but the
    calibration. Actions that were not recorded are the poses and the gripper of the next frame.
    """
    numbers, length = episode.numbers, episode.length
    names = [n for n in numbers if not layout.is_matrix(n) and not n.startswith("misc.")]
    parts = _STATE if set(_STATE) <= set(numbers) else names
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
