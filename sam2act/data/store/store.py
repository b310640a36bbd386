"""The frame store: every image of a task once on disk, memory-mapped, plus the record table.

One folder per task, `<store_folder>/<split>/<task>/`:

    frames.u8           raw bytes (F, 2, K, H, W, 3): colour, then depth code, high byte first
    arrays.safetensors  calibration per frame and the columns of the record table
    index.json          version, settings, episodes with the fingerprints of their sources

Reading only; `store_writer.py` writes the folders, `store_builder.py` fills them from demos.
Legend: N record, F frame in the store, K camera, H W image size, B batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam2act.core.errors import UserError
from sam2act.data.transitions import TRANSITION_DTYPE, valid_records

FORMAT_NAME = "sam2act frame store"
FORMAT_VERSION = 2
FRAMES_FILE = "frames.u8"
ARRAYS_FILE = "arrays.safetensors"
INDEX_FILE = "index.json"
CALIBRATION = ("depth_range", "intrinsics", "extrinsics")
COLUMN_PREFIX = "table."
_REBUILD = "build it with scripts/build_store.py"


class StoreError(UserError):
    """A frame store is absent, damaged or lacks what is asked of it."""


class ImageForm(NamedTuple):
    """What the images of a store show."""

    cameras: tuple[str, ...]
    image_size: int

    def __str__(self) -> str:
        return f"cameras {', '.join(self.cameras)} with image_size {self.image_size}"


class Chains(NamedTuple):
    """Maximal runs of consecutive sampleable records that share their start frame."""

    task: np.ndarray  # (M,) row of the list of tasks
    episode: np.ndarray  # (M,) episode number
    first: np.ndarray  # (M,) number of the first record
    length: np.ndarray  # (M,) sampleable records


class Gathered(NamedTuple):
    """The stored images and calibration of B records."""

    rgb: np.ndarray  # (B, K, H, W, 3) uint8
    depth_code: np.ndarray  # (B, K, H, W, 3) uint8
    depth_range: np.ndarray  # (B, K, 2) float64
    intrinsics: np.ndarray  # (B, K, 3, 3) float64
    extrinsics: np.ndarray  # (B, K, 4, 4) float64


def task_folder(store_folder: str | Path, split: str, task: str) -> Path:
    """The folder of one task's store."""
    return Path(store_folder) / split / task


def read_index(folder: str | Path) -> dict[str, Any]:
    """The content of a task store's index.

    Raises:
        StoreError: there is no store, its index is damaged or has another format version.
    """
    path = Path(folder) / INDEX_FILE
    if not path.is_file():
        raise StoreError(f"{path}: there is no frame store here; {_REBUILD}")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        version = index["format"], index["version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: damaged ({error}); {_REBUILD} --refresh") from error
    if version != (FORMAT_NAME, FORMAT_VERSION):
        raise StoreError(f"{path}: format {version} is not read here; {_REBUILD} --refresh")
    return index


def frame_labels_of(index: dict[str, Any]) -> list[tuple[int, int]]:
    """(episode, frame) of every row of a task store."""
    return [(entry["episode"], frame) for entry in index["episodes"] for frame in entry["frames"]]


class TaskStore:
    """The store of one task. Pickles as its path and form.

    The image file is mapped at once: a rebuild by another run replaces the folder, but not what is
    open here.
    """

    def __init__(self, folder: str | Path, form: ImageForm | None = None) -> None:
        """Reads the index and maps the image file.

        Args:
            folder: where the store lies.
            form: what its images must show; None = anything.

        Raises:
            StoreError: the store is absent, damaged or has another form.
        """
        self.folder = Path(folder)
        self.index = read_index(self.folder)
        self.task: str = self.index["task"]
        self.cameras: tuple[str, ...] = tuple(self.index["cameras"])
        self.image_size: int = self.index["image_size"]
        if form is not None and self.form != form:
            raise StoreError(
                f"{self.folder}: holds {self.form}, but {form} are asked for; another run "
                "has built it so: give each of them a store_folder of its own"
            )
        self.num_frames: int = self.index["num_frames"]
        frames, expected = self.folder / FRAMES_FILE, int(np.prod(self._image_shape))
        size = frames.stat().st_size if frames.is_file() else -1
        if size != expected:
            raise StoreError(f"{frames}: {size} bytes instead of {expected}; {_REBUILD} --refresh")
        self.images = self._map_images()

    def __reduce__(self) -> tuple:
        return TaskStore, (self.folder, self.form)

    @property
    def form(self) -> ImageForm:
        """What the images show."""
        return ImageForm(self.cameras, self.image_size)

    @property
    def _image_shape(self) -> tuple[int, ...]:
        size = self.image_size
        return (2 * self.num_frames, len(self.cameras), size, size, 3)

    def _map_images(self) -> np.ndarray:
        """(2F, K, H, W, 3) uint8, memory-mapped: colour in even rows, depth code in odd rows."""
        if self.num_frames == 0:
            return np.zeros(self._image_shape, np.uint8)
        path = self.folder / FRAMES_FILE
        return np.memmap(path, np.uint8, mode="r", shape=self._image_shape)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Calibration arrays and table columns."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.folder / ARRAYS_FILE
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{path}: damaged ({error}); {_REBUILD} --refresh") from error

    @cached_property
    def table(self) -> np.ndarray:
        """(N,) array of `TRANSITION_DTYPE`, all records in storage order."""
        names = TRANSITION_DTYPE.names or ()
        table = np.zeros(len(self.arrays[COLUMN_PREFIX + names[0]]), TRANSITION_DTYPE)
        for name in names:
            table[name] = self.arrays[COLUMN_PREFIX + name]
        return table

    @property
    def num_bytes(self) -> int:
        """Size of the store on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


class KeyframeStore:
    """The stores of several tasks as one list of records, in the order of the tasks.

    Pickling keeps the paths only, so worker processes share the pages of the image files.
    """

    def __init__(
        self,
        tasks: Sequence[TaskStore],
        episodes: Collection[int] | None = None,
        left_out: Collection[tuple[str, int]] = (),
    ) -> None:
        """Joins task stores.

        Args:
            tasks: the store of each task.
            episodes: limits the records to these episode numbers; None = all.
            left_out: (task, episode) pairs whose records are not used.

        Raises:
            StoreError: the stores differ in cameras or image size, or no record is left.
        """
        if not tasks:
            raise StoreError("tasks: at least one task is needed")
        for other in tasks[1:]:
            if other.form != tasks[0].form:
                raise StoreError(
                    f"{other.folder} and {tasks[0].folder} differ in cameras or image_size; "
                    f"{_REBUILD} --refresh with the same settings"
                )
        self.task_stores = tuple(tasks)
        self.episodes = None if episodes is None else tuple(episodes)
        self.left_out = frozenset(left_out)
        self.tasks = tuple(store.task for store in tasks)
        self.cameras, self.image_size = tasks[0].form
        self._join()

    @classmethod
    def open(
        cls,
        store_folder: str | Path,
        split: str,
        tasks: Sequence[str],
        *,
        episodes: Collection[int] | None = None,
        form: ImageForm | None = None,
    ) -> KeyframeStore:
        """Opens the stores of `tasks` below `<store_folder>/<split>/`.

        Raises:
            StoreError: a store is absent, damaged or of another form than `form`.
        """
        folders = [task_folder(store_folder, split, name) for name in tasks]
        return cls([TaskStore(folder, form) for folder in folders], episodes)

    def without(self, episodes: Collection[tuple[str, int]]) -> KeyframeStore:
        """The same store less the records of some (task, episode) pairs."""
        return KeyframeStore(self.task_stores, self.episodes, self.left_out | set(episodes))

    def __reduce__(self) -> tuple:
        return KeyframeStore, (self.task_stores, self.episodes, self.left_out)

    def __len__(self) -> int:
        return len(self.table)

    def _join(self) -> None:
        instructions: dict[str, int] = {}
        tables, task_rows, texts = [], [], []
        for row, store in enumerate(self.task_stores):
            table = store.table
            if self.episodes is not None:
                table = table[np.isin(table["episode"], self.episodes)]
            unused = [episode for task, episode in self.left_out if task == store.task]
            table = table[~np.isin(table["episode"], unused)]
            text_of_episode = {e["episode"]: e["instruction"] for e in store.index["episodes"]}
            numbers, inverse = np.unique(table["episode"], return_inverse=True)
            ids = [
                instructions.setdefault(text_of_episode[int(n)], len(instructions)) for n in numbers
            ]
            tables.append(table)
            task_rows.append(np.full(len(table), row))
            texts.append(np.asarray(ids, np.int64)[inverse])
        self.table = np.concatenate(tables)
        self.task_index = np.concatenate(task_rows)
        self.instruction_index = np.concatenate(texts)
        self.instructions: tuple[str, ...] = tuple(instructions)
        self.valid = valid_records(self.table)
        empty = sorted(set(range(len(self.tasks))) - set(self.task_index[self.valid].tolist()))
        if empty:
            names = ", ".join(self.tasks[row] for row in empty)
            raise StoreError(
                f"no records of {names} in the wanted episodes; check demo and demo_start, or "
                "--episodes"
            )
        sizes = [store.num_frames for store in self.task_stores]
        self._first_frame = np.cumsum([0, *sizes[:-1]])

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
    def _calibration(self) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([store.arrays[name] for store in self.task_stores])
            for name in CALIBRATION
        }

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
        rows = self.table["image_row"][records].astype(np.int64)
        tasks = self.task_index[records]
        frames = self._first_frame[tasks] + rows
        shape = (len(records), len(self.cameras), self.image_size, self.image_size, 3)
        rgb, depth_code = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        for task in np.unique(tasks):
            images = self.task_stores[task].images
            here = np.flatnonzero(tasks == task)
            _take(images, 2 * rows[here], rgb, here)
            _take(images, 2 * rows[here] + 1, depth_code, here)
        calibration = (self._calibration[name][frames] for name in CALIBRATION)
        return Gathered(rgb, depth_code, *calibration)


def _take(images: np.ndarray, rows: np.ndarray, out: np.ndarray, here: np.ndarray) -> None:
    """out[here] = images[rows], without a temporary copy where `here` is everything."""
    if len(here) == len(out):
        np.take(images, rows, axis=0, out=out, mode="clip")  # clip: the unbuffered variant
    else:
        out[here] = np.take(images, rows, axis=0)
