"""Writing a task store so that a killed or failed build never leaves a half-written one."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam2act.core.files import flush, naming
from sam2act.data.source import CameraArrays
from sam2act.data.store.task_store import (
    ACTION,
    ARRAYS_FILE,
    COLUMN_PREFIX,
    FORMAT_NAME,
    FORMAT_VERSION,
    FRAMES_FILE,
    INDEX_FILE,
    STATE_PREFIX,
    ImageForm,
    StoreError,
)
from sam2act.data.transitions import TRANSITION_DTYPE

logger = logging.getLogger(__name__)


class StoreSettings(NamedTuple):
    """What a store's content depends on besides its sources."""

    task: str
    split: str
    cameras: tuple[str, ...]
    image_size: int
    origin: str  # "demos" | "published replay" | name of another source
    gripper_threshold: float | None = None  # states above it are open; None = recorded as 0 or 1
    assume_ignore_collisions: bool | None = None  # label of frames without the flag
    depth: bool = True  # False: colour only
    wordings: int | None = None  # demo n is told its instruction n mod this; None = the first
    dense: bool = False  # every frame; False: those that keyframe chains show

    @property
    def form(self) -> ImageForm:
        """What the images of the store show."""
        return ImageForm(self.cameras, self.image_size)


class StoredEpisode(NamedTuple):
    """One episode as it enters a store.

    `entry` is its description in the index: `episode`, `instruction`, `frames` (numbers of the F
    stored frames), `keyframes`, `num_frames` (T) and whatever else is worth knowing.
    """

    entry: dict[str, Any]
    images: np.ndarray  # (F, P, K, H, W, 3) uint8
    calibration: CameraArrays | None  # of the F frames; None without depth
    states: Mapping[str, np.ndarray]  # name -> (T, n)
    actions: np.ndarray | None = None  # (T or T - 1, A)
    table: np.ndarray | None = None  # (N,) records of an imported replay; image_row counts from 0


@dataclass
class TaskStoreWriter:
    """Collects episodes in a temporary folder; see `writing_task_store`."""

    folder: Path
    settings: StoreSettings
    data_folder: str = ""  # where the demos come from; not part of the content
    rate: float | None = None  # frames per second; None = unknown
    num_frames: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, dict[str, Any]] = field(default_factory=dict)
    _columns: list[dict[str, np.ndarray]] = field(default_factory=list)

    def add(self, episode: StoredEpisode) -> None:
        """Appends one episode.

        Raises:
            StoreError: states or actions have another shape than those of the ones before.
        """
        columns = self._arrays_of(episode)
        for name, first in self._columns[0].items() if self._columns else ():
            mine = columns.get(name, first)
            if (mine.shape[1:], mine.dtype) != (first.shape[1:], first.dtype):
                raise StoreError(
                    f"{self.settings.task}: {name} of episode {episode.entry['episode']} has shape "
                    f"{mine.shape[1:]} per frame, that of earlier ones {first.shape[1:]}; all "
                    "episodes of a task need the same"
                )
        path = self.folder / FRAMES_FILE
        with naming(path), open(path, "ab") as stream:
            stream.write(np.ascontiguousarray(episode.images).data)
        self.num_frames += len(episode.images)
        num_actions = 0 if episode.actions is None else len(episode.actions)
        self.entries.append({**episode.entry, "num_actions": num_actions})
        self._columns.append(columns)

    def _arrays_of(self, episode: StoredEpisode) -> dict[str, np.ndarray]:
        """What an episode adds to the arrays of the store, by name."""
        arrays = {
            STATE_PREFIX + name: np.asarray(values, np.float64).reshape(len(values), -1)
            for name, values in episode.states.items()
        }
        if episode.actions is not None:
            arrays[ACTION] = np.asarray(episode.actions, np.float64)
        if episode.calibration is not None:
            arrays |= episode.calibration._asdict()
        if episode.table is not None:
            table = episode.table.copy()
            table["image_row"] += np.where(table["image_row"] >= 0, self.num_frames, 0).astype("i4")
            names = TRANSITION_DTYPE.names or ()
            arrays |= {COLUMN_PREFIX + name: np.ascontiguousarray(table[name]) for name in names}
        return arrays

    def finish(self) -> None:
        """Writes arrays and index, and flushes everything to disk."""
        from safetensors.numpy import save_file

        everywhere = set.intersection(*(set(columns) for columns in self._columns))
        partly = {name for columns in self._columns for name in columns} - everywhere
        if partly:
            logger.warning(
                "%s: not all episodes hold %s, so it is left out",
                *(self.settings.task, ", ".join(sorted(partly))),
            )
        arrays = {
            name: np.concatenate([columns[name] for columns in self._columns])
            for name in self._columns[0]
            if name in everywhere
        }
        with naming(self.folder / ARRAYS_FILE):
            save_file(arrays, self.folder / ARRAYS_FILE)
        index = {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            **self.settings._asdict(),
            "data_folder": self.data_folder,
            "rate": self.rate,
            "num_frames": self.num_frames,
            "episodes": self.entries,
            "skipped": self.skipped,
        }
        with naming(self.folder / INDEX_FILE):
            (self.folder / INDEX_FILE).write_text(json.dumps(index, indent=1), encoding="utf-8")
        for path in (*self.folder.iterdir(), self.folder):
            with naming(path):
                flush(path)


@contextmanager
def writing_task_store(
    folder: Path,
    settings: StoreSettings,
    data_folder: str | Path = "",
    rate: float | None = None,
) -> Iterator[TaskStoreWriter]:
    """Yields a writer; on success the finished store replaces `folder` at once.

    Until then `folder` stays as it is. An exception, also an interrupt, removes what was written.
    """
    building = _sibling(folder, "building")
    _remove(building)
    building.mkdir(parents=True)
    try:
        origin = str(Path(data_folder).resolve()) if str(data_folder) else ""
        writer = TaskStoreWriter(building, settings, origin, rate)
        yield writer
        writer.finish()
        _replace(folder, building)
    finally:
        _remove(building)


def clean_leftovers(folder: Path) -> None:
    """Removes what a killed build left beside `folder`; call it under `building_lock`."""
    replaced = _sibling(folder, "replaced")
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)
    _remove(replaced)
    _remove(_sibling(folder, "building"))


def has_store(folder: Path) -> bool:
    """Whether `folder` holds a store, perhaps one that `clean_leftovers` has to restore."""
    return any((place / INDEX_FILE).is_file() for place in (folder, _sibling(folder, "replaced")))


@contextmanager
def building_lock(folder: Path) -> Iterator[None]:
    """Lets one process at a time build `folder`, where the file system supports locks."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "wb") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        except (ImportError, OSError):  # the lock is a convenience; renaming stays atomic
            pass
        yield


def _sibling(folder: Path, purpose: str) -> Path:
    return folder.with_name(f".{folder.name}.{purpose}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _replace(folder: Path, finished: Path) -> None:
    replaced = _sibling(folder, "replaced")
    _remove(replaced)
    if folder.exists():
        folder.rename(replaced)
    finished.rename(folder)
    flush(folder.parent)
    _remove(replaced)
