"""Frames to video files and back, one file for many episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.lerobot.layout import LeRobotError, library

# Choice -> encoder, pixel format, options. Two consecutive pictures form a group, as in LeRobot, so
# that any frame is found quickly.
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264": ("libx264", "yuv420p", {"crf": "18", "g": "2"}),
    "lossless": ("libx264rgb", "rgb24", {"crf": "0", "g": "2", "preset": "veryfast"}),
}


class VideoWriter:
    """One video file, filled frame by frame."""

    def __init__(self, path: Path, codec: str, rate: float, size: tuple[int, int]) -> None:
        """Begin the file.

        Args:
            path: where.
            codec: key of `CODECS`.
            rate: frames per second, a whole number.
            size: height and width; even numbers for h264.
        """
        encoder, pixels, options = CODECS[codec]
        self.frames = 0
        self._container = library("av").open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream(encoder, rate=round(rate), options=options)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = pixels
        self._stream.thread_count = 1

    def add(self, picture: np.ndarray) -> None:
        """Append (H, W, 3) uint8."""
        frame = library("av").VideoFrame.from_ndarray(picture, format="rgb24")
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


class VideoFrames:
    """The frames of a video file by number, fast in increasing order."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._frames: Iterator[tuple[int, np.ndarray]] = iter(())
        self._next = -1

    def __call__(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8 of frame `number`.

        Raises:
            LeRobotError: the file is absent, damaged or shorter.
        """
        for attempt in (self._onwards, self._anew):
            for found, picture in attempt(number):
                self._next = found + 1
                if found == number:
                    return picture
                if found > number:
                    break
        raise LeRobotError(f"{self._path}: has no frame {number}; copy the data set again")

    def _onwards(self, number: int) -> Iterator[tuple[int, np.ndarray]]:
        return self._frames if self._next <= number else iter(())

    def _anew(self, number: int) -> Iterator[tuple[int, np.ndarray]]:
        self._frames = self._decoded(number)
        return self._frames

    def _decoded(self, number: int) -> Iterator[tuple[int, np.ndarray]]:
        """Frames from the last key frame before `number` on, with their numbers."""
        av = library("av")
        try:
            with av.open(str(self._path)) as container:
                stream = container.streams.video[0]
                container.seek(int(number / self._rate / stream.time_base), stream=stream)
                for frame in container.decode(stream):
                    yield round(float(frame.pts * stream.time_base) * self._rate), _pixels(frame)
        except (av.FFmpegError, OSError, IndexError) as error:
            raise LeRobotError(
                f"{self._path}: no readable video ({error}); copy the data set again"
            ) from error


def _pixels(frame: Any) -> np.ndarray:
    to_array: Callable[..., np.ndarray] = frame.to_ndarray
    return to_array(format="rgb24")
