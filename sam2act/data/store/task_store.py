"""The store of one task: its frames once on disk, memory-mapped, and the raw state beside them.

One folder per task, `<store_folder>/<split>/<task>/`:

    frames.u8           raw bytes (F, P, K, H, W, 3): colour, then depth code, high byte first; P is
                        1 where only colour is stored
    arrays.safetensors  `depth_range`, `intrinsics`, `extrinsics` of the stored frames (with depth);
                        `state.NAME` and `action` of all frames of the episodes; `table.COLUMN` of
                        imported replays, which hold training records in place of episodes
    index.json          version, settings, episodes with the fingerprints of their sources

A dense store holds every frame of an episode, a sparse one those that keyframe chains show. What a
policy learns from (records, windows, time feature, labels) is made when a store is opened.

Reading only; `writer.py` writes the folders, `builder.py` fills them.
Legend: N record, F frame in the store, T frames of all episodes, K camera, H W image size.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam2act.core.errors import UserError
from sam2act.data.transitions import TRANSITION_DTYPE, FrameLabels, build_transitions

FORMAT_NAME = "sam2act frame store"
FORMAT_VERSION = 3
FRAMES_FILE = "frames.u8"
ARRAYS_FILE = "arrays.safetensors"
INDEX_FILE = "index.json"
CALIBRATION = ("depth_range", "intrinsics", "extrinsics")
COLUMN_PREFIX = "table."
STATE_PREFIX = "state."
ACTION = "action"
REBUILD = "build it with scripts/build_store.py"


class StoreError(UserError):
    """A frame store is absent, damaged or lacks what is asked of it."""


class FormatError(StoreError):
    """A frame store has another format version."""


class ImageForm(NamedTuple):
    """What the images of a store show."""

    cameras: tuple[str, ...]
    image_size: int

    def __str__(self) -> str:
        return f"cameras {', '.join(self.cameras)} with image_size {self.image_size}"


def task_folder(store_folder: str | Path, split: str, task: str) -> Path:
    """The folder of one task's store."""
    return Path(store_folder) / split / task


def read_index(folder: str | Path, *, any_version: bool = False) -> dict[str, Any]:
    """The content of a task store's index.

    Raises:
        StoreError: there is no store, or its index is damaged.
        FormatError: it has another format version, unless `any_version`.
    """
    path = Path(folder) / INDEX_FILE
    if not path.is_file():
        raise StoreError(f"{path}: there is no frame store here; {REBUILD}")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        version = index["format"], index["version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: damaged ({error}); {REBUILD} --refresh") from error
    if version != (FORMAT_NAME, FORMAT_VERSION) and not any_version:
        raise FormatError(f"{path}: format {version} is not read here; {REBUILD} --refresh")
    return index


def frame_labels_of(index: dict[str, Any]) -> list[tuple[int, int]]:
    """(episode, frame) of every row of a task store."""
    return [(entry["episode"], frame) for entry in index["episodes"] for frame in entry["frames"]]


class Rows(NamedTuple):
    """Where the parts of an episode begin in a task store."""

    frame: int  # its first stored frame
    state: int  # its first row of the state columns
    action: int  # its first recorded action


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
        self.depth: bool = self.index["depth"]
        if form is not None and self.form != form:
            raise StoreError(
                f"{self.folder}: holds {self.form}, but {form} are asked for; another run "
                "has built it so: give each of them a store_folder of its own"
            )
        self.num_frames: int = self.index["num_frames"]
        frames, expected = self.folder / FRAMES_FILE, int(np.prod(self._image_shape))
        size = frames.stat().st_size if frames.is_file() else -1
        if size != expected:
            raise StoreError(f"{frames}: {size} bytes instead of {expected}; {REBUILD} --refresh")
        self.images = self._map_images()

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskStore, (self.folder, self.form)

    @property
    def form(self) -> ImageForm:
        """What the images show."""
        return ImageForm(self.cameras, self.image_size)

    @property
    def planes(self) -> int:
        """Images per frame and camera: colour and depth code, or colour alone."""
        return 2 if self.depth else 1

    @property
    def _image_shape(self) -> tuple[int, ...]:
        size = self.image_size
        return (self.planes * self.num_frames, len(self.cameras), size, size, 3)

    def _map_images(self) -> np.ndarray:
        """(P * F, K, H, W, 3) uint8, memory-mapped: frame after frame, colour and depth code."""
        if self.num_frames == 0:
            return np.zeros(self._image_shape, np.uint8)
        path = self.folder / FRAMES_FILE
        return np.memmap(path, np.uint8, mode="r", shape=self._image_shape)

    @property
    def depth_code(self) -> np.ndarray:
        """(F, K, H, W, 3) uint8, memory-mapped.

        Raises:
            StoreError: only colour is stored.
        """
        if not self.depth:
            raise StoreError(f"{self.folder}: holds no depth; {REBUILD} --refresh")
        return self.images[1::2]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Calibration, state, actions and table columns."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.folder / ARRAYS_FILE
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{path}: damaged ({error}); {REBUILD} --refresh") from error

    @cached_property
    def rows(self) -> dict[int, Rows]:
        """Episode number -> where its parts begin."""
        found, at = {}, Rows(0, 0, 0)
        for entry in self.index["episodes"]:
            found[entry["episode"]] = at
            at = Rows(
                at.frame + len(entry["frames"]),
                at.state + entry["num_frames"],
                at.action + entry["num_actions"],
            )
        return found

    def has_state(self, name: str) -> bool:
        """Whether a part of the state was recorded."""
        return STATE_PREFIX + name in self.arrays

    def state(self, name: str, entry: dict[str, Any]) -> np.ndarray:
        """(T, n) float64: a part of the state in all frames of an episode.

        Raises:
            StoreError: it was not recorded.
        """
        column = self.arrays.get(STATE_PREFIX + name)
        if column is None:
            there = [k[len(STATE_PREFIX) :] for k in self.arrays if k.startswith(STATE_PREFIX)]
            raise StoreError(
                f"{self.folder}: holds no {name}, which this policy needs; recorded are "
                f"{', '.join(sorted(there)) or 'no states'}"
            )
        first = self.rows[entry["episode"]].state
        return column[first : first + entry["num_frames"]]

    def records(self, episode_length: int) -> np.ndarray:
        """(N,) array of `TRANSITION_DTYPE`: all records of keyframe chains, in storage order.

        Args:
            episode_length: steps that the time feature spans; imported replays hold their own.

        Raises:
            StoreError: the data set knows no keyframes, or not what such records hold.
        """
        names = TRANSITION_DTYPE.names or ()
        if COLUMN_PREFIX + names[0] in self.arrays:
            table = np.zeros(len(self.arrays[COLUMN_PREFIX + names[0]]), TRANSITION_DTYPE)
            for name in names:
                table[name] = self.arrays[COLUMN_PREFIX + name]
            return table
        episodes = self.index["episodes"]
        return np.concatenate([self._records(entry, episode_length) for entry in episodes])

    def _records(self, entry: dict[str, Any], episode_length: int) -> np.ndarray:
        """The records of one episode."""
        if not entry["keyframes"]:
            raise StoreError(
                f"{self.folder}: episode {entry['episode']} has no keyframes, which this policy "
                "learns from"
            )
        columns = (self.state(name, entry) for name in FrameLabels._fields)
        labels = FrameLabels(*(c if c.shape[1] > 1 else c[:, 0] for c in columns))
        table = build_transitions(
            *(entry["episode"], labels, entry["keyframes"]), episode_length=episode_length
        )
        shown = table["image_row"] >= 0
        rows = np.searchsorted(entry["frames"], table["sample_frame"][shown])
        table["image_row"][shown] = self.rows[entry["episode"]].frame + rows
        return table

    @property
    def num_bytes(self) -> int:
        """Size of the store on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())
