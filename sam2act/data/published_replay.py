"""Import of released replay folders into the frame store.

A replay folder holds one pickle per record, `<number>.replay`, the `terminal` values of all records
(`replay_info.npy`) and, in the temporal variant, the groups `init_frame_to_idx.pkl`. Images repeat
in many records; the store keeps each frame once. Stored point clouds are not read: they follow
from depth and calibration.

Depth arrives in metres without the clipping planes that it was coded with. It is coded again with
near = 0 and far = the largest depth of the image, so a value moves by at most far / 2^25, which is
below 1e-6 m up to a range of 33 m.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sam2act.data.demos import CameraArrays
from sam2act.data.rlbench_types import DemoError, load_restricted
from sam2act.data.store import KeyframeStore, StoreError, read_index, task_folder
from sam2act.data.store_writer import (
    StoredEpisode,
    StoreSettings,
    building_lock,
    clean_leftovers,
    writing_task_store,
)
from sam2act.data.transitions import PADDING, TRANSITION_DTYPE, UNKNOWN_COLLISION
from sam2act.geometry.cameras import encode_depth

logger = logging.getLogger(__name__)
ORIGIN = "published replay"
TERMINAL_FILE = "replay_info.npy"
GROUPS_FILE = "init_frame_to_idx.pkl"


class ReplayError(DemoError):
    """A released replay folder cannot be imported."""


@dataclass(frozen=True)
class ReplayRequest:
    """Which replay to import and where to. Names follow the configuration keys."""

    replay_folder: str | Path  # holds one folder per task
    store_folder: str | Path
    split: str = "train"
    cameras: tuple[str, ...] = ("front", "left_shoulder", "right_shoulder", "wrist")
    image_size: int = 128

    def settings(self, task: str) -> StoreSettings:
        """The settings that are part of the store."""
        return StoreSettings(task, self.split, tuple(self.cameras), self.image_size, ORIGIN)


class _Chain(NamedTuple):
    """Records of one start frame: sampleable ones, then perhaps a padding one."""

    records: list[int]
    padding: int | None


def import_replay(
    request: ReplayRequest, tasks: Sequence[str], *, refresh: bool = False, progress: bool = True
) -> KeyframeStore:
    """Imports the replay folders of `tasks` (one process) and opens the resulting stores.

    A store that was imported before from as many records is used as it is.

    Raises:
        ReplayError: a folder or record is absent, damaged or does not fit the settings.
    """
    for task in tasks:
        source = Path(request.replay_folder) / task
        target = task_folder(request.store_folder, request.split, task)
        with building_lock(target):
            clean_leftovers(target)
            if refresh or not _is_current(request, task, _record_numbers(source)):
                logger.info("importing the released replay %s into %s", source, target)
                _import_task(request, task, source, target, progress)
    return KeyframeStore.open(request.store_folder, request.split, tasks)


def _is_current(request: ReplayRequest, task: str, numbers: list[int]) -> bool:
    try:
        index = read_index(task_folder(request.store_folder, request.split, task))
    except StoreError:
        return False
    expected = request.settings(task)._asdict() | {"cameras": list(request.cameras)}
    same_settings = all(index[key] == value for key, value in expected.items())
    return same_settings and index["episodes"][0]["replay_records"] == len(numbers)


def _record_numbers(folder: Path) -> list[int]:
    numbers = sorted(int(path.stem) for path in folder.glob("*.replay") if path.stem.isdigit())
    if not numbers:
        raise ReplayError(
            f"{folder}: holds no <number>.replay files; set replay_folder to the folder that holds "
            "one folder of them per task"
        )
    if numbers != list(range(len(numbers))):
        raise ReplayError(f"{folder}: record numbers have gaps; unpack the archive again")
    return numbers


def _import_task(
    request: ReplayRequest, task: str, source: Path, target: Path, progress: bool
) -> None:
    from tqdm import tqdm

    terminal = _terminals(source, len(_record_numbers(source)))
    groups = _read_groups(source, terminal)
    chains: dict[int, list[_Chain]] = {}
    for chain in _split_chains(terminal):
        first = _read_record(source, chain.records[0])
        number = int(first["episode_idx"])
        _check_group(source, groups, number, first, chain)
        chains.setdefault(number, []).append(chain)
    with writing_task_store(target, request.settings(task)) as writer:
        bar = tqdm(chains.items(), f"{request.split}/{task}", unit="demo", disable=not progress)
        for number, chains_of_demo in bar:
            writer.add(_episode(request, source, number, chains_of_demo, len(terminal)))


def _terminals(folder: Path, count: int) -> np.ndarray:
    """(N,) `terminal` of every record."""
    path = folder / TERMINAL_FILE
    if not path.is_file():
        values = [int(_read_record(folder, number)["terminal"]) for number in range(count)]
        return np.array(values, np.int8)
    try:
        terminal = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ReplayError(f"{path}: damaged ({error}); unpack the archive again") from error
    if len(terminal) < count:
        raise ReplayError(f"{path}: describes {len(terminal)} records, but {count} are there")
    return terminal[:count]


def _split_chains(terminal: np.ndarray) -> Iterator[_Chain]:
    """Runs of sampleable records; a padding record ends a run."""
    records: list[int] = []
    for number, value in enumerate(terminal.tolist()):
        if value != PADDING:
            records.append(number)
        elif records:
            yield _Chain(records, number)
            records = []
    if records:  # the last record of a replay buffer is never sampled
        yield _Chain(records, None)


def _read_groups(folder: Path, terminal: np.ndarray) -> dict[tuple[int, int], list[int]] | None:
    """(episode, start frame) -> sampleable records; None for the variant without groups.

    Padding records carry uninitialised bookkeeping and form random extra groups; they are dropped,
    and so are the groups that become empty.
    """
    path = folder / GROUPS_FILE
    if not path.is_file():
        return None
    content = load_restricted(path)
    groups = {}
    for episode, by_start in content.items():
        for start, numbers in by_start.items():
            valid = [int(n) for n in numbers if n < len(terminal) and terminal[n] != PADDING]
            if valid:
                groups[int(episode), int(start)] = sorted(valid)
    return groups


def _check_group(
    folder: Path,
    groups: dict[tuple[int, int], list[int]] | None,
    episode: int,
    first: dict[str, Any],
    chain: _Chain,
) -> None:
    """Raises unless the stored groups agree with the order of the records."""
    if groups is None:
        return
    start = int(first["initial_frame"])
    if groups.get((episode, start)) != chain.records:
        raise ReplayError(
            f"{folder / GROUPS_FILE}: the group of episode {episode}, start frame {start} is "
            f"{groups.get((episode, start))}, but the records in order are {chain.records}; "
            "unpack the archive again"
        )


def _read_record(folder: Path, number: int) -> dict[str, Any]:
    path = folder / f"{number}.replay"
    content = load_restricted(path)
    if not isinstance(content, dict) or "sample_frame" not in content:
        raise ReplayError(f"{path}: not a replay record; unpack the archive again")
    return content


def _episode(
    request: ReplayRequest, folder: Path, number: int, chains: list[_Chain], num_records: int
) -> StoredEpisode:
    """The store's form of one episode of a replay of `num_records` records."""
    frames: dict[int, int] = {}  # frame number -> row
    images: list[np.ndarray] = []
    calibrations: list[CameraArrays] = []
    rows: list[np.ndarray] = []
    instruction = ""
    for chain in chains:
        initial = -1
        for position, record_number in enumerate(chain.records):
            record = _read_record(folder, record_number)
            shown = int(record["sample_frame"])
            initial = shown if position == 0 else initial
            if shown not in frames:
                frames[shown] = len(frames)
                path = folder / f"{record_number}.replay"
                pixels, calibration = _images(request, record, path)
                images.append(pixels)
                calibrations.append(calibration)
            instruction = str(np.asarray(record["lang_goal"]).reshape(-1)[0])
            rows.append(_table_row(record, number, initial, position, frames[shown]))
        if chain.padding is not None:
            rows.append(_padding_row(_read_record(folder, chain.padding), rows[-1]))
    table = np.stack(rows)
    entry = {
        "episode": number,
        "instruction": instruction,
        "keyframes": sorted({int(frame) for frame in table["target_frame"]}),
        "frames": list(frames),
        "replay_records": num_records,
    }
    calibration = CameraArrays(*(np.stack(parts) for parts in zip(*calibrations, strict=True)))
    return StoredEpisode(entry, table, np.stack(images), calibration)


def _table_row(
    record: dict[str, Any], episode: int, initial: int, position: int, image_row: int
) -> np.ndarray:
    row = np.zeros((), TRANSITION_DTYPE)
    row["episode"] = episode
    row["initial_frame"] = initial
    row["time_index"] = position
    row["sample_frame"] = record["sample_frame"]
    row["keyframe_index"] = record["keypoint_idx"]
    row["target_frame"] = record["next_keypoint_frame"]
    row["terminal"] = record["terminal"]
    row["image_row"] = image_row
    _set_labels(row, record)
    return row


def _padding_row(record: dict[str, Any], last: np.ndarray) -> np.ndarray:
    """The padding record after `last`; its own bookkeeping is uninitialised memory."""
    row = last.copy()
    row["time_index"] += 1
    row["sample_frame"] = last["target_frame"]
    row["terminal"] = PADDING
    row["image_row"] = -1
    _set_labels(row, record)
    return row


def _set_labels(row: np.ndarray, record: dict[str, Any]) -> None:
    row["gripper_open"] = np.asarray(record["rot_grip_action_indicies"]).reshape(-1)[3]
    row["collision_current"] = np.asarray(record["ignore_collisions"]).reshape(-1)[0]
    row["collision_next"] = UNKNOWN_COLLISION
    row["pose"] = record["gripper_pose"]
    row["proprioception"] = record["low_dim_state"]


def _images(
    request: ReplayRequest, record: dict[str, Any], path: Path
) -> tuple[np.ndarray, CameraArrays]:
    """Images (2, K, H, W, 3) uint8 and calibration of one frame."""
    colours, codes, ranges, intrinsics, extrinsics = [], [], [], [], []
    size = request.image_size
    for camera in request.cameras:
        try:
            colour, depth = record[f"{camera}_rgb"], np.squeeze(record[f"{camera}_depth"])
            intrinsics.append(record[f"{camera}_camera_intrinsics"])
            extrinsics.append(record[f"{camera}_camera_extrinsics"])
        except KeyError as error:
            raise ReplayError(
                f"{path}: has no {error}; take {camera} out of the key cameras"
            ) from error
        if np.shape(colour) != (3, size, size) or depth.shape != (size, size):
            raise ReplayError(
                f"{path}: {camera} images have shape {np.shape(colour)}; set image_size, which is "
                f"{size}, to their size"
            )
        code, far = _encode_metres(depth)
        colours.append(np.moveaxis(np.asarray(colour, np.uint8), 0, -1))
        codes.append(code)
        ranges.append((0.0, far))
    return np.stack([np.stack(colours), np.stack(codes)]), CameraArrays(
        np.array(ranges, np.float64),
        np.array(intrinsics, np.float64),
        np.array(extrinsics, np.float64),
    )


def _encode_metres(depth: np.ndarray) -> tuple[np.ndarray, float]:
    """(H, W, 3) uint8 codes between 0 and the largest depth, and that depth in metres."""
    metres = torch.from_numpy(np.ascontiguousarray(depth, np.float64))
    far = max(float(metres.max()), float(np.finfo(np.float32).tiny))
    return encode_depth(metres / far).numpy(), far
