"""The stores of several tasks as one list of samples.

Legend: N record, F frame in the store, K camera, H W image size, B batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sam2act.core.specs import TIME_FEATURE_LENGTH
from sam2act.data.store.task_store import (
    CALIBRATION,
    REBUILD,
    ImageForm,
    StoreError,
    TaskStore,
    task_folder,
)
from sam2act.data.transitions import TRANSITION_DTYPE, valid_records

SomeStore = TypeVar("SomeStore", bound="FrameStore")


class Chains(NamedTuple):
    """Maximal runs of consecutive sampleable records that share their start frame."""

    task: np.ndarray  # (M,) row of the list of tasks
    episode: np.ndarray  # (M,) episode number
    first: np.ndarray  # (M,) number of the first record
    length: np.ndarray  # (M,) sampleable records


class Gathered(NamedTuple):
    """The stored images and calibration of B frames."""

    rgb: np.ndarray  # (B, K, H, W, 3) uint8
    depth_code: np.ndarray  # (B, K, H, W, 3) uint8
    depth_range: np.ndarray  # (B, K, 2) float64
    intrinsics: np.ndarray  # (B, K, 3, 3) float64
    extrinsics: np.ndarray  # (B, K, 4, 4) float64


class FrameStore:
    """The stores of several tasks, limited to some episodes; what all kinds of samples share.

    Subclasses make `_join` number the samples 0, 1, ...: `task_index` (N,) is the task of each,
    `valid` (M,) lists those that may be sampled. Pickling keeps the paths only, so worker processes
    share the pages of the image files.
    """

    valid: np.ndarray
    task_index: np.ndarray
    samples = "samples"  # what messages call them

    def __init__(
        self,
        tasks: Sequence[TaskStore],
        episodes: Collection[int] | None = None,
        left_out: Collection[tuple[str, int]] = (),
        *options: Any,
    ) -> None:
        """Joins task stores.

        Args:
            tasks: the store of each task.
            episodes: limits the samples to these episode numbers; None = all.
            left_out: (task, episode) pairs whose samples are not used.
            options: what the kind of samples depends on, for `_join`.

        Raises:
            StoreError: the stores differ in cameras or image size, or no sample is left.
        """
        if not tasks:
            raise StoreError("tasks: at least one task is needed")
        for other in tasks[1:]:
            if other.form != tasks[0].form:
                raise StoreError(
                    f"{other.folder} and {tasks[0].folder} differ in cameras or image_size; "
                    f"{REBUILD} --refresh with the same settings"
                )
        self.task_stores = tuple(tasks)
        self.episodes = None if episodes is None else tuple(episodes)
        self.left_out = frozenset(left_out)
        self.options = options
        self.tasks = tuple(store.task for store in tasks)
        self.cameras, self.image_size = tasks[0].form
        sizes = [store.num_frames for store in tasks]
        self.first_frame = np.cumsum([0, *sizes[:-1]])
        self._join(*options)
        self._require_samples()

    @classmethod
    def open(
        cls: type[SomeStore],
        store_folder: str | Path,
        split: str,
        tasks: Sequence[str],
        *,
        episodes: Collection[int] | None = None,
        form: ImageForm | None = None,
    ) -> SomeStore:
        """Opens the stores of `tasks` below `<store_folder>/<split>/`.

        Raises:
            StoreError: a store is absent, damaged or of another form than `form`.
        """
        folders = [task_folder(store_folder, split, name) for name in tasks]
        return cls([TaskStore(folder, form) for folder in folders], episodes)

    def without(self: SomeStore, episodes: Collection[tuple[str, int]]) -> SomeStore:
        """The same store less the samples of some (task, episode) pairs."""
        left_out = self.left_out | set(episodes)
        return type(self)(self.task_stores, self.episodes, left_out, *self.options)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task_stores, self.episodes, self.left_out, *self.options)

    def __len__(self) -> int:
        return len(self.task_index)

    def episodes_of(self, row: int) -> list[int]:
        """The used episodes of a task, increasing."""
        return sorted(entry["episode"] for entry in self._entries(row))

    def _entries(self, row: int) -> Iterator[dict[str, Any]]:
        """The index entries of the used episodes of a task, in storage order."""
        store = self.task_stores[row]
        wanted = None if self.episodes is None else set(self.episodes)
        for entry in store.index["episodes"]:
            number = entry["episode"]
            if (wanted is None or number in wanted) and (store.task, number) not in self.left_out:
                yield entry

    @cached_property
    def _texts(self) -> tuple[tuple[str, ...], dict[tuple[int, int], int]]:
        """The distinct instructions, and (task, episode) -> place among them."""
        numbers: dict[str, int] = {}
        places = {}
        for row in range(len(self.tasks)):
            for entry in sorted(self._entries(row), key=lambda entry: entry["episode"]):
                place = numbers.setdefault(entry["instruction"], len(numbers))
                places[row, entry["episode"]] = place
        return tuple(numbers), places

    @property
    def instructions(self) -> tuple[str, ...]:
        """The distinct instructions of the used episodes."""
        return self._texts[0]

    def instruction_of(self, row: int, episode: int) -> int:
        """Which instruction an episode of a task has."""
        return self._texts[1][row, episode]

    def _join(self, *options: Any) -> None:
        raise NotImplementedError

    def fingerprints(self) -> dict[str, str]:
        """Task -> digest of what its samples teach; images and places of files are left out."""
        raise NotImplementedError

    def _require_samples(self) -> None:
        there = set(self.task_index[self.valid].tolist())
        empty = sorted(set(range(len(self.tasks))) - there)
        if empty:
            names = ", ".join(self.tasks[row] for row in empty)
            raise StoreError(
                f"no {self.samples} of {names} in the wanted episodes; check demo and demo_start, "
                "or --episodes"
            )

    def pictures(self, tasks: np.ndarray, frames: np.ndarray, plane: int) -> np.ndarray:
        """(B, K, H, W, 3) uint8: colours (plane 0) or depth codes (1) of stored frames.

        Args:
            tasks: (B,) row of the list of tasks.
            frames: (B,) stored frame of that task.
            plane: which of the two.
        """
        size = self.image_size
        out = np.empty((len(frames), len(self.cameras), size, size, 3), np.uint8)
        for task in np.unique(tasks):
            store = self.task_stores[task]
            here = np.flatnonzero(tasks == task)
            _take(store.images, store.planes * frames[here] + plane, out, here)
        return out

    @cached_property
    def calibration(self) -> dict[str, np.ndarray]:
        """Calibration of all stored frames, those of the first task first."""
        return {
            name: np.concatenate([store.arrays[name] for store in self.task_stores])
            for name in CALIBRATION
        }


class KeyframeStore(FrameStore):
    """All records of keyframe chains, in the order of the tasks."""

    table: np.ndarray  # (N,) of TRANSITION_DTYPE
    instruction_index: np.ndarray  # (N,) int64
    samples = "records"

    def _join(self, episode_length: int = TIME_FEATURE_LENGTH) -> None:
        tables, task_rows = [], []
        for row, store in enumerate(self.task_stores):
            table = store.records(episode_length)
            table = table[np.isin(table["episode"], self.episodes_of(row))]
            tables.append(table)
            task_rows.append(np.full(len(table), row))
        self.table = np.concatenate(tables)
        self.task_index = np.concatenate(task_rows)
        self.instruction_index = self._instruction_rows()
        self.valid = valid_records(self.table)

    def _instruction_rows(self) -> np.ndarray:
        keys = np.stack([self.task_index, self.table["episode"]])
        pairs, inverse = np.unique(keys, axis=1, return_inverse=True)
        places = [self.instruction_of(*pair) for pair in pairs.T.tolist()]
        return np.asarray(places, np.int64)[inverse.reshape(-1)]

    def fingerprints(self) -> dict[str, str]:
        """Task -> digest of what its records teach; images and places of files are left out."""
        names = [name for name in TRANSITION_DTYPE.names or () if name != "image_row"]
        found = {}
        for row, task in enumerate(self.tasks):
            mine = self.task_index == row
            digest = hashlib.sha256()
            for name in names:
                digest.update(np.ascontiguousarray(self.table[name][mine]).tobytes())
            for index in self.instruction_index[mine]:
                digest.update(self.instructions[index].encode())
            found[task] = digest.hexdigest()
        return found

    @cached_property
    def chains(self) -> Chains:
        """All chains, in storage order."""
        records = self.valid
        keys = np.stack(
            [
                self.task_index[records],
                self.table["episode"][records],
                self.table["initial_frame"][records],
            ]
        )
        starts = np.ones(len(records), bool)
        starts[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
        at = np.flatnonzero(starts)
        length = np.diff(np.append(at, len(records)))
        return Chains(keys[0, at], keys[1, at], records[at], length)

    def gather(self, records: np.ndarray) -> Gathered:
        """Images and calibration of B sampleable records; one copy per field."""
        frames = self.table["image_row"][records].astype(np.int64)
        tasks = self.task_index[records]
        rgb, depth_code = (self.pictures(tasks, frames, plane) for plane in (0, 1))
        rows = self.first_frame[tasks] + frames
        return Gathered(rgb, depth_code, *(self.calibration[name][rows] for name in CALIBRATION))


def _take(images: np.ndarray, rows: np.ndarray, out: np.ndarray, here: np.ndarray) -> None:
    """out[here] = images[rows], without a temporary copy where `here` is everything."""
    if len(here) == len(out):
        np.take(images, rows, axis=0, out=out, mode="clip")  # clip: the unbuffered variant
    else:
        out[here] = np.take(images, rows, axis=0)
