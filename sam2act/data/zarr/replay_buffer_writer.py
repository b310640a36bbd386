"""Writing replay buffers in Diffusion Policy's layout that lose nothing of an episode.

`data/` holds images and numbers under the names of `data/exchange.py`, and `action`; `meta/` the
ends of the episodes; the attributes of the group the rest. The end of an episode, which is written
last, is what makes it count, so that an interrupted buffer goes on after its last whole episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.exchange import PlainEpisode
from sam2act.data.plain_source import RAW
from sam2act.data.rlbench.dense_actions import pose_actions
from sam2act.data.source import SourceError
from sam2act.data.zarr.files import require_writing, zarr
from sam2act.data.zarr.replay_buffer import ACTION, ENDS

_IMAGE_ROWS, _NUMBER_ROWS = 16, 4096  # of a chunk
_POSE = ("gripper_pose", "gripper_open")


class BufferWriter:
    """Appends plain episodes to a store."""

    def __init__(self, path: Path, rate: float, form: int = 2) -> None:
        """Begin a store, or go on with one that this class began.

        Args:
            path: the folder of the store, `<task>.zarr`.
            rate: frames per second.
            form: format of zarr, 2 (which Diffusion Policy reads) or 3.

        Raises:
            SourceError: the store there has another rate, or zarr is too old.
        """
        require_writing()
        options = {} if path.exists() else {"zarr_format": form}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._group = zarr().open_group(str(path), mode="a", **options)
        self._data, self._meta = (self._group.require_group(n) for n in ("data", "meta"))
        found = self._group.attrs.get("rate", rate)
        if found != rate:
            raise SourceError(
                f"{path}: has {found} frames per second, not {rate:g}; choose another folder"
            )
        self._path, self._rate = path, rate

    def written(self) -> int:
        """Episodes whose end is written."""
        return int(self._meta[ENDS].shape[0]) if ENDS in self._meta else 0

    def finish(self) -> None:
        """Nothing is left to do."""

    def add(self, episode: PlainEpisode) -> None:
        """Append one.

        Raises:
            SourceError: it has other images or numbers than the ones before.
        """
        number = self.written()
        first = int(self._meta[ENDS][number - 1]) if number else 0
        end = first + episode.length
        actions, mode = _actions(episode)
        arrays = dict(episode.numbers) | ({} if actions is None else {ACTION: actions})
        self._require_same(arrays, episode, number)
        for name, values in arrays.items():
            array = self._array(name, values.shape[1:], values.dtype, _NUMBER_ROWS)
            array.resize((end, *values.shape[1:]))
            array[first:end] = values
        for name, size in episode.images.items():
            array = self._array(name, (*size, 3), np.dtype(np.uint8), _IMAGE_ROWS)
            array.resize((end, *size, 3))
            for start in range(0, episode.length, _IMAGE_ROWS):
                frames = range(start, min(start + _IMAGE_ROWS, episode.length))
                pixels = np.stack([episode.image(name, frame) for frame in frames])
                array[first + start : first + start + len(pixels)] = pixels
        self._tell(episode, number, mode)
        ends = self._array(ENDS, (), np.dtype(np.int64), _NUMBER_ROWS, self._meta)
        ends.resize((number + 1,))
        ends[number] = end

    def _require_same(
        self, arrays: Mapping[str, np.ndarray], episode: PlainEpisode, number: int
    ) -> None:
        forms = {name: (values.shape[1:], values.dtype) for name, values in arrays.items()}
        forms |= {name: ((*size, 3), np.dtype("u1")) for name, size in episode.images.items()}
        there = {name: (array.shape[1:], array.dtype) for name, array in self._data.arrays()}
        if number and forms != there:
            odd = [n for n in {**forms, **there} if forms.get(n) != there.get(n)]
            raise SourceError(
                f"{self._path}: {', '.join(sorted(odd))} of this episode differ from those of the "
                "episodes before; a buffer holds one set of cameras and numbers"
            )

    def _array(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype, rows: int, group: Any = None
    ) -> Any:
        """An array of the store, made where there is none."""
        group = self._data if group is None else group
        if name not in group:
            group.create_array(name, shape=(0, *shape), dtype=dtype, chunks=(rows, *shape))
        return group[name]

    def _tell(self, episode: PlainEpisode, number: int, mode: str) -> None:
        """What arrays cannot hold."""
        told = list(self._group.attrs.get("episodes", []))[:number]
        told.append({**episode.facts, "instructions": list(episode.instructions)})
        self._group.attrs.update({"rate": self._rate, "action_mode": mode, "episodes": told})


def _actions(episode: PlainEpisode) -> tuple[np.ndarray | None, str]:
    """(T, A) and their mode: as recorded, else the poses and the gripper of the next frame."""
    actions, mode, numbers = episode.actions, RAW, episode.numbers
    if actions is None and set(_POSE) <= set(numbers) and episode.length > 1:
        poses, gripper = (numbers[name].reshape(episode.length, -1) for name in _POSE)
        actions, mode = pose_actions(poses, gripper[:, 0], "ee_pose"), "ee_pose"
    if actions is None:
        return None, mode
    return np.concatenate([actions, actions[len(actions) - 1 :]])[: episode.length], mode
