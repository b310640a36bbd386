"""Replay buffers in Diffusion Policy's layout: a source of episodes, and reading for conversions.

`data/<key>` holds the frames of all episodes one after the other, `meta/episode_ends` where each of
them ends. A camera `front` is the array `front`, `front_rgb` or `front_image` (N, H, W, 3) of
whole numbers from 0 to 255; the array `action` holds actions, every other one a part of the state.
Buffers written by this package have images and numbers under the names of `data/exchange.py`.

Attributes of the group, all optional, say what the arrays do not:

    rate            frames per second
    instruction     what the robot was told; `instructions` has one text per episode
    action_mode     control mode of `action` ("raw")
    episodes        per episode what else is known of it

Legend: N frames of all episodes, T frames of one, H W image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from sam2act.data.exchange import DEPTH_CODE, MASK, RGB, PlainEpisode
from sam2act.data.plain_source import RAW, PlainSource
from sam2act.data.source import SourceError
from sam2act.data.zarr.files import (
    Rows,
    arrays_of,
    files_digest,
    find_store,
    open_group,
    zarr_problem,
)

ACTION, ENDS = "action", "episode_ends"
_SUFFIXES = (RGB, "_image")  # what the array of a camera may have behind its name


@dataclass(frozen=True)
class KnownBuffer:
    """What is known of a public data set but not written in its buffer.

    Attributes:
        rate: frames per second.
        instruction: a text for all episodes.
        parts: part of the state -> the array and the columns that it is.
    """

    rate: float
    instruction: str
    parts: Mapping[str, tuple[str, slice]] = field(default_factory=dict)


KNOWN = {
    "pusht": KnownBuffer(
        rate=10.0,
        instruction="push the T-shaped block onto the T-shaped target",
        parts={"agent_pos": ("state", slice(0, 2))},
    )
}


class BufferReader:
    """The episodes of one buffer."""

    def __init__(self, path: Path, task: str) -> None:
        """Open it.

        Args:
            path: the store.
            task: its name, by which public data sets are known.

        Raises:
            SourceError: it is no replay buffer, or its arrays do not agree.
        """
        self.path, self._known = path, KNOWN.get(task)
        self._task = task
        group = open_group(path)
        if "data" not in group or f"meta/{ENDS}" not in group:
            raise SourceError(
                f"{path}: lacks data or meta/{ENDS}, so it is no replay buffer of Diffusion "
                "Policy's layout; check data_folder"
            )
        self._attributes = dict(group.attrs)
        self._rows = {
            k: Rows(a, f"{path}/data/{k}") for k, a in arrays_of(group["data"], path).items()
        }
        self._ends = np.asarray(group[f"meta/{ENDS}"][:], np.int64)
        self._check()
        self.action_mode = str(self._attributes.get("action_mode", RAW))

    @property
    def rate(self) -> float:
        """Frames per second.

        Raises:
            SourceError: nothing tells it.
        """
        rate = self._attributes.get("rate", self._known.rate if self._known else None)
        if not isinstance(rate, (int, float)) or not rate > 0:
            raise SourceError(
                f"{self.path}: nothing tells how many frames a second has (rate is {rate!r}); "
                'write it into the attributes of the store, {"rate": 10} for example'
            )
        return float(rate)

    def episodes(self) -> Sequence[int]:
        """0, 1, ... in the order of the buffer."""
        return range(len(self._ends))

    def read(self, number: int) -> PlainEpisode:
        """One of them.

        Raises:
            SourceError: there is none of that number, or a chunk is damaged.
        """
        if not 0 <= number < len(self._ends):
            raise SourceError(f"{self.path}: holds {len(self._ends)} episodes, not number {number}")
        first, end = int(self._ends[number - 1]) if number else 0, int(self._ends[number])
        taken = {*self.images.values(), ACTION}
        numbers = {k: rows.part(first, end) for k, rows in self._rows.items() if k not in taken}
        for name, (key, columns) in (self._known.parts if self._known else {}).items():
            numbers[name] = numbers[key][:, columns]
        actions = self._rows[ACTION].part(first, end) if ACTION in self._rows else None
        told = self._attributes.get("episodes")
        facts = dict(told[number]) if told else {}
        return PlainEpisode(
            length=end - first,
            instructions=tuple(facts.pop("instructions", ())) or (self._instruction(number),),
            numbers=numbers,
            images={n: self._rows[k].array.shape[1:3] for n, k in self.images.items()},
            image=lambda name, frame: self._image(self.images[name], first + frame),
            actions=None if actions is None else actions.reshape(end - first, -1),
            facts=facts,
        )

    def digest(self, number: int) -> str:
        """Digest of names, sizes and times of all files; chunks hold several episodes."""
        return self._digest

    @cached_property
    def images(self) -> dict[str, str]:
        """Name of an image -> its array."""
        found = {}
        for key, rows in self._rows.items():
            shape = rows.array.shape
            if len(shape) != 4 or shape[-1] != 3:
                continue
            suffix = next((s for s in _SUFFIXES if key.endswith(s)), "")
            kept = key.endswith((DEPTH_CODE, MASK))
            found[key if kept else key.removesuffix(suffix) + RGB] = key
        return found

    @cached_property
    def _digest(self) -> str:
        return files_digest(self.path)

    def _check(self) -> None:
        ends = self._ends
        if not len(ends) or (np.diff(ends, prepend=0) <= 0).any():
            raise SourceError(
                f"{self.path}: meta/{ENDS} must grow from episode to episode; copy it again"
            )
        for key, rows in self._rows.items():
            if rows.array.shape[:1] != (ends[-1],):
                raise SourceError(
                    f"{self.path}: meta/{ENDS} ends at {ends[-1]}, but data/{key} has shape "
                    f"{rows.array.shape}; copy the store again"
                )

    def _instruction(self, number: int) -> str:
        texts = self._attributes.get("instructions")
        if texts is not None:
            return str(texts[number])
        default = self._known.instruction if self._known else self._task.replace("_", " ")
        return str(self._attributes.get("instruction", default))

    def _image(self, key: str, row: int) -> np.ndarray:
        """(H, W, 3) uint8."""
        values = self._rows[key].one(row)
        pixels = values.astype(np.uint8)
        if values.dtype != np.uint8 and not np.array_equal(pixels, values):
            raise SourceError(
                f"{self.path}/data/{key}: pixels are {values.dtype} and not all whole numbers from "
                "0 to 255; write them as uint8"
            )
        return pixels


class ReplayBufferSource(PlainSource):
    """The episodes of the store `<folder>/<split>/<task>.zarr`, or of `<folder>` itself."""

    @staticmethod
    def problem() -> str:
        """What is lacking to read stores; empty if nothing is."""
        return zarr_problem()

    def open(self) -> BufferReader:
        """The reader of the store."""
        request = self.request
        return BufferReader(find_store(request.folder, request.split, request.task), request.task)
