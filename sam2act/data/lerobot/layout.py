"""Where things lie in a LeRobot data set of version 3, and what its features are called.

Ours keep everything of an episode. What LeRobot's policies read has LeRobot's names: colours are
`observation.images.<camera>`, the state `observation.state` and actions `action` (float32). Beside
them stand `observation.depth_code.<camera>` (a picture: 24-bit code, high byte first),
`observation.intrinsics.<camera>`, `observation.extrinsics.<camera>` and
`observation.depth_range.<camera>` (near and far in metres), what each frame leads to as
`observation.keyframe.<name>`, and every recorded number in its own precision as `recorded.<name>`.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.data.exchange import (
    CALIBRATION,
    DEPTH_CODE,
    DEPTH_RANGE,
    EXTRINSICS,
    INTRINSICS,
    MASK,
    RGB,
)
from sam2act.data.source import AbsentError

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
OURS = "meta/sam2act.json"  # what this package knows of a data set that it wrote
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{FILE}.parquet"
EPISODES_PATH = f"meta/episodes/{FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE}.mp4"
FACTS_PATH = f"meta/sam2act/{FILE}.json"
CHUNK = 1000  # files per folder
STATE, ACTION = "observation.state", "action"
RECORDED = "recorded."
# Of the next keyframe after each frame. LeRobot hands its policies only features that begin with
# `observation.`, so these do, although no robot observes them.
KEYFRAME = "observation.keyframe."
KEYFRAME_INDEX = KEYFRAME + "index"  # its number in the episode from 0 on; -1 = there is none
KEYFRAME_FRAME = KEYFRAME + "frame"  # number of its frame
KEYFRAME_POSE = KEYFRAME + "pose"  # (7,) of the gripper: metres and xyzw, world frame
KEYFRAME_GRIPPER = KEYFRAME + "gripper_open"  # as recorded
KEYFRAME_FLAG = KEYFRAME + "ignore_collisions"  # of the frame before it; -1 = not recorded
FLAG = "observation.ignore_collisions"  # of the frame itself; -1 = not recorded
INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_PREFIXES = {
    RGB: "observation.images.",
    DEPTH_CODE: "observation.depth_code.",
    MASK: "observation.mask.",
    INTRINSICS: "observation.intrinsics.",
    EXTRINSICS: "observation.extrinsics.",
    DEPTH_RANGE: "observation.depth_range.",
}


class LeRobotError(UserError):
    """A LeRobot data set cannot be read or written; the message names file and remedy."""


def library(name: str) -> Any:
    """A module of pyarrow or av.

    Raises:
        LeRobotError: it is not installed.
    """
    problem = lerobot_problem()
    if problem:
        raise LeRobotError(problem)
    return import_module(name)


def lerobot_problem() -> str:
    """Why data sets cannot be read here, and the remedy; empty if they can."""
    try:
        import_module("pyarrow.parquet")
        import_module("av")
    except ImportError as error:
        return f"pyarrow and av are needed ({error}); pip install 'sam2act[lerobot-data]'"
    return ""


def feature_of(name: str) -> str:
    """The feature of an image or a number of a plain episode."""
    for suffix, prefix in _PREFIXES.items():
        if name.endswith(suffix):
            return prefix + name.removesuffix(suffix)
    return RECORDED + name


def name_of(feature: str) -> str:
    """The image or number that a feature holds; the name of other people's features, short."""
    for suffix, prefix in _PREFIXES.items():
        if feature.startswith(prefix):
            return feature.removeprefix(prefix) + suffix
    return feature.removeprefix(RECORDED).removeprefix("observation.")


def is_matrix(name: str) -> bool:
    """Whether a number is part of the calibration, which keeps its shape in a data set."""
    return name.endswith(tuple(CALIBRATION))


def place(pattern: str, number: int, **names: str) -> str:
    """Path of file `number` of a kind."""
    return pattern.format(chunk_index=number // CHUNK, file_index=number % CHUNK, **names)


def find_data_set(folder: Path, split: str, task: str) -> Path:
    """The data set of a task: `folder` itself, `<folder>/<split>/<task>` or `<folder>/<task>`.

    Raises:
        AbsentError: there is none.
    """
    places = [folder, folder / split / task, folder / task]
    for path in places:
        if (path / INFO).is_file():
            return path
    raise AbsentError(
        f"{folder}: holds no LeRobot data set of {task} ({INFO} is in none of "
        f"{', '.join(map(str, places))}); name the data set itself as data_folder"
    )


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        LeRobotError: it is absent or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeRobotError(f"{path}: cannot be read ({error}); copy the data set again") from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def numpy_text(dtype: np.dtype) -> str:
    """What LeRobot calls a type of numbers."""
    return str(np.dtype(dtype).name)
