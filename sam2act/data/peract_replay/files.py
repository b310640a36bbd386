"""Reading the files of a released replay folder: records, their order and their images."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sam2act.core.rules import depth_rules, robot_rules, zero_or_one
from sam2act.data.peract_replay.colours import ColourReader
from sam2act.data.recorded_rules import Source, check_cameras
from sam2act.data.rlbench.demo_folders import visible_folders
from sam2act.data.rlbench.types import DemoError, load_restricted, numbers_in, short
from sam2act.data.source import CameraArrays, coded_depth
from sam2act.data.store.bounds_check import frames_without_points
from sam2act.data.transitions import PADDING

TERMINAL_FILE = "replay_info.npy"
REPLAY_AGAIN = "unpack the archive again or take out the records of this episode"
GROUPS_FILE = "init_frame_to_idx.pkl"
LABEL_KEYS = ("gripper_pose", "rot_grip_action_indicies", "ignore_collisions", "low_dim_state")
RECORD_KEYS = (
    *("episode_idx", "sample_frame", "keypoint_idx", "next_keypoint_frame", "terminal"),
    *("lang_goal", *LABEL_KEYS),
)
WHOLE_KEYS = (*RECORD_KEYS[:5], "initial_frame")


class ReplayError(DemoError):
    """A released replay folder cannot be imported."""


class RecordLabels(NamedTuple):
    """What a record says about the robot."""

    pose: np.ndarray  # (7,) float64: target, metres and xyzw
    gripper_open: int
    ignore_collisions: int
    proprioception: np.ndarray  # (4,) float64


class Chain(NamedTuple):
    """Records of one start frame: sampleable ones, then perhaps a padding one."""

    records: list[int]
    padding: int | None


def replays_below(folder: Path) -> list[str]:
    """Names of the folders in `folder` that hold records, sorted."""
    return [path.name for path in visible_folders(folder) if _numbered(path)]


def _numbered(folder: Path) -> list[int]:
    names = (path.name for path in folder.glob("*.replay"))
    matches = (re.fullmatch(r"(0|[1-9][0-9]*)\.replay", name) for name in names)
    return sorted(int(match.group(1)) for match in matches if match)


def record_numbers(folder: Path) -> list[int]:
    """The numbers of the records in `folder`: 0, 1, ... without gaps.

    Raises:
        ReplayError: there are none, or some are absent.
    """
    numbers = _numbered(folder)
    if not numbers:
        raise ReplayError(
            f"{folder}: holds no <number>.replay files (0.replay, 1.replay, ...); set "
            "replay_folder to the folder that holds one folder of them per task"
        )
    if numbers != list(range(len(numbers))):
        raise ReplayError(f"{folder}: record numbers have gaps; unpack the archive again")
    return numbers


def source_fingerprint(folder: Path) -> str:
    """Digest of the content of the small files and of the names, sizes and times of the records.

    Raises:
        ReplayError: the folder holds no records, or some are absent.
    """
    digest = hashlib.sha256()
    for name in (TERMINAL_FILE, GROUPS_FILE):
        path = folder / name
        digest.update(path.read_bytes() if path.is_file() else b"absent")
    for number in record_numbers(folder):
        status = (folder / f"{number}.replay").stat()
        digest.update(f"{number} {status.st_size} {status.st_mtime_ns};".encode())
    return digest.hexdigest()


def read_terminals(folder: Path, count: int) -> np.ndarray:
    """(N,) int8: `terminal` of every record.

    Raises:
        ReplayError: the file that lists them is damaged or too short.
    """
    path = folder / TERMINAL_FILE
    if not path.is_file():
        values = [int(read_record(folder, n, ("terminal",))["terminal"]) for n in range(count)]
        return np.array(values, np.int8)
    try:
        terminal = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ReplayError(f"{path}: damaged ({error}); unpack the archive again") from error
    if terminal.ndim != 1 or terminal.dtype.kind not in "biuf" or not np.isfinite(terminal).all():
        raise ReplayError(
            f"{path}: holds {short(terminal)} of {terminal.dtype} instead of one whole number per "
            "record; unpack the archive again"
        )
    if len(terminal) < count:
        raise ReplayError(f"{path}: describes {len(terminal)} records, but {count} are there")
    return terminal[:count]


def split_chains(terminal: np.ndarray) -> Iterator[Chain]:
    """Runs of sampleable records; a padding record ends a run.

    The last record of a replay buffer is never sampled, because the record after it would be its
    next observation. In a complete buffer it is a padding record anyway.
    """
    records: list[int] = []
    for number, value in enumerate(terminal.tolist()):
        if value != PADDING:
            records.append(number)
        elif records:
            yield Chain(records, number)
            records = []
    if len(records) > 1:
        yield Chain(records[:-1], None)


def read_groups(folder: Path, terminal: np.ndarray) -> dict[tuple[int, int], list[int]] | None:
    """(episode, start frame) -> sampleable records; None for the variant without groups.

    Padding records carry uninitialised bookkeeping and form random extra groups; they are dropped,
    and so are the groups that become empty.
    """
    path = folder / GROUPS_FILE
    if not path.is_file():
        return None
    content = load_restricted(path)
    last = len(terminal) - 1  # never sampled
    groups = {}
    try:
        for episode, by_start in content.items():
            for start, numbers in by_start.items():
                valid = [int(n) for n in numbers if n < last and terminal[n] != PADDING]
                if valid:
                    groups[int(episode), int(start)] = sorted(valid)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ReplayError(
            f"{path}: holds no groups of records ({error}); unpack the archive again"
        ) from error
    return groups


def check_group(
    folder: Path,
    groups: dict[tuple[int, int], list[int]] | None,
    episode: int,
    first: dict[str, Any],
    chain: Chain,
) -> None:
    """Raises unless the stored groups agree with the order of the records."""
    if groups is None:
        return
    start = int(first.get("initial_frame", first["sample_frame"]))
    if groups.get((episode, start)) != chain.records:
        raise ReplayError(
            f"{folder / GROUPS_FILE}: the group of episode {episode}, start frame {start} is "
            f"{groups.get((episode, start))}, but the records in order are {chain.records}; "
            "unpack the archive again"
        )


def read_record(folder: Path, number: int, keys: Sequence[str] = RECORD_KEYS) -> dict[str, Any]:
    """The content of one record.

    Raises:
        DemoError: the file is damaged, refers to foreign classes or lacks one of `keys`.
    """
    path = folder / f"{number}.replay"
    content = load_restricted(path)
    absent = [key for key in keys if not isinstance(content, dict) or key not in content]
    if absent:
        raise ReplayError(
            f"{path}: not a replay record, it has no {', '.join(absent)}; unpack the archive again"
        )
    for key in WHOLE_KEYS:
        if key in keys or (key in content and keys is RECORD_KEYS):
            content[key] = _whole(content[key], path, key)
    return content


def _whole(value: object, path: Path, key: str) -> int:
    number = numbers_in(value)
    if number is None or number.size != 1 or not float(number.item()).is_integer():
        raise ReplayError(f"{path}: {key} is {short(value)}, not a whole number; {REPLAY_AGAIN}")
    return int(number.item())


def read_images(
    record: dict[str, Any],
    path: Path,
    cameras: Sequence[str],
    image_size: int,
    colours: ColourReader,
) -> tuple[np.ndarray, CameraArrays]:
    """Images (2, K, H, W, 3) uint8 and calibration (without frame axis) of the record at `path`.

    Raises:
        ReplayError: a camera is absent, the size is another one, values break a rule, or no pixel
            gives a point.
    """
    parts = [_read_camera(record, path, camera, image_size) for camera in cameras]
    pictures, *arrays = zip(*parts, strict=True)
    depths, intrinsics, extrinsics = map(np.stack, arrays)
    source = _source(record, path)
    source.check(depth_rules(torch.from_numpy(depths[None])), cameras=cameras)
    try:
        pixels = colours.to_bytes([np.moveaxis(picture, 0, -1) for picture in pictures])
    except ValueError as error:
        raise ReplayError(f"{path}: rgb: {error}; {source.again}") from error
    codes, ranges = map(np.stack, zip(*map(coded_depth, depths), strict=True))
    calibration = CameraArrays(ranges, intrinsics, extrinsics)
    of_frame = CameraArrays(*(part[None] for part in calibration))
    check_cameras(source, cameras, image_size, *of_frame)
    if len(frames_without_points(codes[None], of_frame)):
        raise ReplayError(
            f"{path}: has an empty cloud: no depth of {', '.join(cameras)} was measured; "
            f"{source.again}"
        )
    return np.stack([pixels, codes]), calibration


def read_labels(record: dict[str, Any], path: Path) -> RecordLabels:
    """The labels of the record at `path`; its pose is checked with those of its episode.

    Raises:
        ReplayError: a label has another shape, or a value breaks a rule.
    """
    pose = _numbers(record, path, "gripper_pose", 7)
    action = _numbers(record, path, "rot_grip_action_indicies", 4)
    ignore = _numbers(record, path, "ignore_collisions", 1)
    state = _numbers(record, path, "low_dim_state", 4)
    _source(record, path).check(
        [
            *robot_rules(torch.from_numpy(state[None])),
            zero_or_one("rot_grip_action_indicies (gripper)", torch.from_numpy(action[3:])),
            zero_or_one("ignore_collisions", torch.from_numpy(ignore)),
        ],
        remedy="make the replay again from demos that keep this rule, ",
    )
    return RecordLabels(pose, round(action[3]), round(ignore[0]), state)


def _numbers(record: dict[str, Any], path: Path, key: str, count: int) -> np.ndarray:
    values = numbers_in(record[key])
    if values is None or values.size != count:
        raise ReplayError(
            f"{path}: {key} holds {short(record[key])} instead of {count} numbers; {REPLAY_AGAIN}"
        )
    return values.reshape(-1)


def _source(record: dict[str, Any], path: Path) -> Source:
    name = f"sample_frame {record.get('sample_frame', 'unknown')}"
    return Source(path, [name], ReplayError, REPLAY_AGAIN)


def _read_camera(
    record: dict[str, Any], path: Path, camera: str, size: int
) -> tuple[np.ndarray, ...]:
    """Colour (3, H, W), depth (H, W) in metres, intrinsics and extrinsics of one camera."""
    shapes = {
        "rgb": (3, size, size),
        "depth": (1, size, size),
        "camera_intrinsics": (3, 3),
        "camera_extrinsics": (4, 4),
    }
    return tuple(_camera_array(record, path, camera, kind, shapes[kind]) for kind in shapes)


def _camera_array(
    record: dict[str, Any], path: Path, camera: str, kind: str, shape: tuple[int, ...]
) -> np.ndarray:
    """One array of a camera; colours keep their type, a depth loses its first axis."""
    key = f"{camera}_{kind}"
    if key not in record:
        raise ReplayError(f"{path}: has no {key!r}; take {camera} out of the key cameras")
    values = numbers_in(record[key])
    if kind == "depth" and values is not None:
        shape, values = shape[1:], np.squeeze(values)
    if values is None or values.shape != shape:
        remedy = REPLAY_AGAIN
        if values is not None and values.ndim == len(shape) and values.shape[-1] > 4:
            remedy = f"set image_size, which is {shape[-1]}, to the size of the pictures"
        raise ReplayError(f"{path}: {key} is {short(record[key])} instead of {shape}; {remedy}")
    return np.asarray(record[key]) if kind == "rgb" else values
