"""An episode in the form that every data format can give and take, and its conversion.

Numbers of a frame go by the names of `core/specs.py` (`gripper_pose`, `joint_positions`, ...);
those of camera `front` are `front_intrinsics` (3, 3), `front_extrinsics` (4, 4) and
`front_depth_range` (2,): near and far of its depth code, metres. Images go by camera and kind:
`front_rgb`, `front_depth_code` (24 bits, high byte first), `front_mask` (24 bits, red lowest).

Legend: T frames of an episode, A numbers of an action, H W image size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

RGB, DEPTH_CODE, MASK = "_rgb", "_depth_code", "_mask"
IMAGE_KINDS = (RGB, DEPTH_CODE, MASK)
INTRINSICS, EXTRINSICS, DEPTH_RANGE = "_intrinsics", "_extrinsics", "_depth_range"
CALIBRATION = {INTRINSICS: (3, 3), EXTRINSICS: (4, 4), DEPTH_RANGE: (2,)}


@dataclass(frozen=True)
class PlainEpisode:
    """One recorded episode; images are read when they are asked for.

    Attributes:
        length: frames (T).
        instructions: what the robot was told, the main text first.
        numbers: name -> (T, ...), in the precision in which they were recorded.
        images: name -> (H, W) of every frame.
        image: (name, frame) -> (H, W, 3) uint8.
        actions: (T or T - 1, A); None = none were recorded.
        facts: what else is known, in plain containers, numbers and texts: `variation`, `keyframes`,
            and whatever a format needs to give back what it took.
    """

    length: int
    instructions: tuple[str, ...]
    numbers: Mapping[str, np.ndarray]
    images: Mapping[str, tuple[int, int]]
    image: Callable[[str, int], np.ndarray]
    actions: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cameras(self) -> list[str]:
        """The cameras that have colour images."""
        return [name.removesuffix(RGB) for name in self.images if name.endswith(RGB)]


class EpisodeReader(Protocol):
    """The episodes of one task in some format."""

    @property
    def rate(self) -> float:
        """Frames per second."""
        ...

    def episodes(self) -> Sequence[int]:
        """Their numbers, increasing."""
        ...

    def read(self, number: int) -> PlainEpisode:
        """One of them.

        Raises:
            UserError: it is broken; the message names the file and the remedy.
        """
        ...


class EpisodeWriter(Protocol):
    """Takes episodes of one task in some format; what is finished survives an interruption."""

    def written(self) -> int:
        """How many episodes are safe on disk."""
        ...

    def add(self, episode: PlainEpisode) -> None:
        """Append one."""
        ...

    def finish(self) -> None:
        """Make all of them safe."""
        ...


def copy_episodes(
    reader: EpisodeReader,
    writer: EpisodeWriter,
    most: int | None = None,
    change: Callable[[PlainEpisode, int], PlainEpisode] = lambda episode, number: episode,
) -> Iterator[int]:
    """Give episodes of a reader to a writer; the number of each after it was taken.

    Args:
        reader: where they come from.
        writer: where they go; the first ones that it holds already are passed over.
        most: only so many, the first ones; None = all.
        change: what is made of each and its number on the way.
    """
    for number in list(reader.episodes())[:most][writer.written() :]:
        writer.add(change(reader.read(number), number))
        yield number
    writer.finish()


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays and tuples are marked, so that `restored` knows them.

    Raises:
        TypeError: it is no number, text, array or container of such.
    """
    if isinstance(value, np.ndarray):
        return {"__array__": value.tolist(), "dtype": value.dtype.str, "shape": value.shape}
    if isinstance(value, np.generic):
        return {"__number__": value.item(), "dtype": value.dtype.str}
    if isinstance(value, tuple):
        return {"__tuple__": [plain(item) for item in value]}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} is no number, text or container")


def restored(value: Any) -> Any:
    """What `plain` was given."""
    if isinstance(value, list):
        return [restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "__array__" in value:
        return np.array(value["__array__"], value["dtype"]).reshape(value["shape"])
    if "__number__" in value:
        return np.dtype(value["dtype"]).type(value["__number__"])
    if "__tuple__" in value:
        return tuple(restored(item) for item in value["__tuple__"])
    return {key: restored(item) for key, item in value.items()}
