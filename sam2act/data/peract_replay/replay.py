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
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.instructions import LanguageError, described
from sam2act.data.peract_replay.colours import ColourReader
from sam2act.data.peract_replay.files import (
    LABEL_KEYS,
    REPLAY_AGAIN,
    Chain,
    RecordLabels,
    ReplayError,
    check_group,
    read_groups,
    read_images,
    read_labels,
    read_record,
    read_terminals,
    record_numbers,
    source_fingerprint,
    split_chains,
)
from sam2act.data.recorded_rules import Source, check_poses
from sam2act.data.rlbench.demo_folders import warn_of_absent
from sam2act.data.source import CameraArrays
from sam2act.data.store.bounds_check import require_live_cameras
from sam2act.data.store.checks import warn_of_oddities
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import StoreError, read_index, task_folder
from sam2act.data.store.writer import (
    StoredEpisode,
    StoreSettings,
    TaskStoreWriter,
    building_lock,
    clean_leftovers,
    writing_task_store,
)
from sam2act.data.transitions import PADDING, TRANSITION_DTYPE, UNKNOWN_COLLISION

logger = logging.getLogger(__name__)
ORIGIN = "published replay"
REPLAY_FOLDER = "replay"  # below the store folder, apart from the stores of recorded demos


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

    def folder(self, task: str) -> Path:
        """Where the store of `task` lies."""
        return task_folder(Path(self.store_folder) / REPLAY_FOLDER, self.split, task)


def import_replay(
    request: ReplayRequest, tasks: Sequence[str], *, refresh: bool = False, progress: bool = True
) -> KeyframeStore:
    """Imports the replay folders of `tasks` (one process) and opens the resulting stores.

    A store that was imported before from the same files is used as it is.

    Raises:
        ReplayError: a folder or record is absent, damaged or does not fit the settings.
    """
    sources = {task: Path(request.replay_folder) / task for task in tasks}
    fingerprints = {task: source_fingerprint(source) for task, source in sources.items()}
    for task, source in sources.items():
        target = request.folder(task)
        with building_lock(target):
            clean_leftovers(target)
            if refresh or not _is_current(request, task, fingerprints[task]):
                logger.info("importing the released replay %s into %s", source, target)
                with writing_task_store(target, request.settings(task), source) as writer:
                    _import_task(request, source, fingerprints[task], writer, progress)
    store = open_replay(request, tasks)
    warn_of_oddities(store)
    return store


def open_replay(
    request: ReplayRequest, tasks: Sequence[str], *, episodes: Collection[int] | None = None
) -> KeyframeStore:
    """Opens imported stores, limited to `episodes` (all processes, after a barrier).

    Warns with the count where a replay holds fewer of the `episodes`.

    Raises:
        StoreError: a store is absent, damaged or has other cameras or another image size.
    """
    folder = Path(request.store_folder) / REPLAY_FOLDER
    store = KeyframeStore.open(
        folder, request.split, tasks, episodes=episodes, form=request.settings("").form
    )
    if episodes is not None:
        for row, task in enumerate(store.tasks):
            present = set(store.table["episode"][store.task_index == row].tolist())
            warn_of_absent(request.split, task, len(present), len(set(episodes)))
    return store


def _is_current(request: ReplayRequest, task: str, fingerprint: str) -> bool:
    try:
        index = read_index(request.folder(task))
    except StoreError:
        return False
    expected = request.settings(task)._asdict() | {"cameras": list(request.cameras)}
    same_settings = all(index.get(key) == value for key, value in expected.items())
    return same_settings and index["episodes"][0].get("source") == fingerprint


def _import_task(
    request: ReplayRequest, source: Path, fingerprint: str, writer: TaskStoreWriter, progress: bool
) -> None:
    from tqdm import tqdm

    terminal = read_terminals(source, len(record_numbers(source)))
    groups = read_groups(source, terminal)
    colours = ColourReader()
    chains: dict[int, list[Chain]] = {}
    for chain in split_chains(terminal):
        first = read_record(source, chain.records[0])
        number = int(first["episode_idx"])
        check_group(source, groups, number, first, chain)
        chains.setdefault(number, []).append(chain)
    if not chains:
        raise ReplayError(f"{source}: holds no record that can be sampled; unpack it again")
    bar = tqdm(chains.items(), f"{request.split}/{source.name}", unit="demo", disable=not progress)
    for number, chains_of_demo in bar:
        episode = _episode(request, source, number, chains_of_demo, colours)
        episode.entry["source"] = fingerprint
        writer.add(episode)


def _episode(
    request: ReplayRequest, folder: Path, number: int, chains: list[Chain], colours: ColourReader
) -> StoredEpisode:
    """The store's form of one episode of a replay."""
    files: list[str] = []  # of the rows
    frames: dict[int, int] = {}  # frame number -> row
    images: list[np.ndarray] = []
    calibrations: list[CameraArrays] = []
    rows: list[np.ndarray] = []
    instruction = ""
    for chain in chains:
        initial = -1
        for position, record_number in enumerate(chain.records):
            record = read_record(folder, record_number)
            shown = int(record["sample_frame"])
            initial = shown if position == 0 else initial
            path = folder / f"{record_number}.replay"
            files.append(path.name)
            if shown not in frames:
                frames[shown] = len(frames)
                pixels, calibration = read_images(
                    record, path, request.cameras, request.image_size, colours
                )
                images.append(pixels)
                calibrations.append(calibration)
            instruction = _instruction(record, path)
            row = _table_row(record, number, initial, position, frames[shown])
            rows.append(_labelled(row, read_labels(record, path)))
        if chain.padding is not None:
            path = folder / f"{chain.padding}.replay"
            files.append(path.name)
            labels = read_labels(read_record(folder, chain.padding, LABEL_KEYS), path)
            rows.append(_labelled(_padding_row(rows[-1]), labels))
    table, pixels = np.stack(rows), np.stack(images)
    check_poses(Source(folder, files, ReplayError, REPLAY_AGAIN), table["pose"])
    require_live_cameras(f"{folder}: episode {number}", pixels, request.cameras, ReplayError)
    entry = {
        "episode": number,
        "instruction": instruction,
        "num_frames": int(max(table["target_frame"].max(), *frames)) + 1,
        "keyframes": sorted({int(frame) for frame in table["target_frame"]}),
        "frames": list(frames),
    }
    calibration = CameraArrays(*(np.stack(parts) for parts in zip(*calibrations, strict=True)))
    return StoredEpisode(entry, pixels, calibration, {}, table=table)


def _instruction(record: dict[str, Any], path: Path) -> str:
    try:
        return described(np.asarray(record["lang_goal"], object).reshape(-1))[0]
    except LanguageError as error:
        raise ReplayError(f"{path}: lang_goal: {error}") from error


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
    return row


def _padding_row(last: np.ndarray) -> np.ndarray:
    """The padding record after `last`; its own bookkeeping is uninitialised memory."""
    row = last.copy()
    row["time_index"] += 1
    row["sample_frame"] = last["target_frame"]
    row["terminal"] = PADDING
    row["image_row"] = -1
    return row


def _labelled(row: np.ndarray, labels: RecordLabels) -> np.ndarray:
    """The row with its labels filled in."""
    row["gripper_open"] = labels.gripper_open
    row["collision_current"] = labels.ignore_collisions
    row["collision_next"] = UNKNOWN_COLLISION
    row["pose"] = labels.pose
    row["proprioception"] = labels.proprioception
    return row
