"""What a data set of recorded episodes is: one class per kind, registered by name in SOURCES.

The class is called with a `SourceRequest` and stands for the episodes of one task from then on.
Frames are read once, when a store is built; training reads the store.

Legend: T frames of an episode, F frames that are asked for, K camera, H W image size, A numbers of
an action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sam2act.core.errors import UserError
from sam2act.core.frames import Frame
from sam2act.core.specs import EnvSpec
from sam2act.geometry.depth_codes import depth_codes


class SourceError(UserError):
    """Recorded episodes cannot be used; the message names the place and the remedy."""


class AbsentError(UserError):
    """The episodes of a task are not there; a finished store may stand in for them."""


@dataclass(frozen=True)
class SourceRequest:
    """Which recorded episodes are meant.

    Attributes:
        folder: the data folder.
        split: part of the data set, "train" for example.
        task: its name.
        cameras: the cameras whose images are wanted, in this order.
        image_size: pixels per side of their images.
        options: `gripper_threshold`, `assume_ignore_collisions` and `wordings`, as configured.
    """

    folder: Path
    split: str
    task: str
    cameras: tuple[str, ...]
    image_size: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeFacts:
    """What is known of an episode without its images.

    Attributes:
        length: frames.
        keyframes: their numbers, increasing; empty = the data set knows none.
        variation: which variation of the task; None = unknown.
    """

    length: int
    keyframes: tuple[int, ...] = ()
    variation: int | None = None


class EpisodeSource(Protocol):
    """The recorded episodes of one task. An episode is named by its number.

    Every method raises a `UserError` that names the file and the remedy if the episode is broken.
    """

    @property
    def spec(self) -> EnvSpec:
        """Cameras, state and actions that are recorded; `keyframe_pose` where keyframes are known.

        `ee_pose` and `ee_delta` may be named without recorded actions where the states
        `gripper_pose` and `gripper_open` are recorded: they follow from these.
        """
        ...

    @property
    def rate(self) -> float | None:
        """Frames per second; None = unknown."""
        ...

    def episodes(self) -> Sequence[int]:
        """The numbers of the episodes that are there, increasing; nothing large is read.

        Raises:
            AbsentError: nothing of the task is there.
        """
        ...

    def facts(self, number: int) -> EpisodeFacts:
        """Length, keyframes and variation."""
        ...

    def instruction(self, number: int) -> str:
        """What the robot was told."""
        ...

    def frame(self, number: int, index: int) -> Frame:
        """Images and state of one frame."""
        ...

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        """Part of the state -> (T, n) of all frames; keyframe policies need `gripper_open`,
        `finger_joints`, `gripper_pose` (metres, xyzw) and `ignore_collisions`."""
        ...

    def actions(self, number: int) -> np.ndarray | None:
        """(T or T - 1, A): action t was taken in frame t; None = none were recorded."""
        ...

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        """Digest of the files that the episode is read from, of images only those of `frames`."""
        ...


class CameraArrays(NamedTuple):
    """Calibration of F frames and K cameras."""

    depth_range: np.ndarray  # (F, K, 2) float64: near, far in metres
    intrinsics: np.ndarray  # (F, K, 3, 3) float64
    extrinsics: np.ndarray  # (F, K, 4, 4) float64, T_world_from_camera


class Pictures(NamedTuple):
    """Images in their stored form."""

    images: np.ndarray  # (F, P, K, H, W, 3) uint8: colour and, with P = 2, depth code
    calibration: CameraArrays | None  # with depth only


@runtime_checkable
class HasPictures(Protocol):
    """A source that gives many frames at once, and depth in the code in which it was recorded."""

    def pictures(self, number: int, frames: Sequence[int], *, depth: bool) -> Pictures:
        """The checked images of `frames`."""
        ...


def pictures_of(
    source: EpisodeSource,
    request: SourceRequest,
    number: int,
    frames: Sequence[int],
    *,
    depth: bool,
) -> Pictures:
    """The images of some frames of an episode in their stored form.

    Raises:
        SourceError: a frame lacks a camera, or an image has another form.
    """
    if isinstance(source, HasPictures):
        return source.pictures(number, frames, depth=depth)
    parts = [_one_frame(source, request, number, index, depth) for index in frames]
    images = np.stack([part.images for part in parts])
    if not depth:
        return Pictures(images, None)
    arrays = zip(*(part.calibration for part in parts if part.calibration), strict=True)
    return Pictures(images, CameraArrays(*map(np.stack, arrays)))


def _one_frame(
    source: EpisodeSource, request: SourceRequest, number: int, index: int, depth: bool
) -> Pictures:
    """The images (P, K, H, W, 3) and the calibration of one frame, without its axis."""
    frame = source.frame(number, index)
    place = f"{request.task}: episode {number}, frame {index}"
    side = request.image_size
    colours = [_part(frame.rgb, camera, (side, side, 3), place) for camera in request.cameras]
    if any(colour.dtype != np.uint8 for colour in colours):
        raise SourceError(f"{place}: rgb is {colours[0].dtype}; images are arrays of uint8")
    if not depth:
        return Pictures(np.stack([np.stack(colours)]), None)
    shapes = {"depth": (side, side), "intrinsics": (3, 3), "extrinsics": (4, 4)}
    depths, intrinsics, extrinsics = (
        [
            np.asarray(_part(getattr(frame, name), camera, shape, place), np.float64)
            for camera in request.cameras
        ]
        for name, shape in shapes.items()
    )
    codes, ranges = zip(*map(coded_depth, depths), strict=True)
    images = np.stack([np.stack(colours), np.stack(codes)])
    return Pictures(images, CameraArrays(*map(np.stack, (ranges, intrinsics, extrinsics))))


def _part(
    parts: Mapping[str, np.ndarray], camera: str, shape: tuple[int, ...], place: str
) -> np.ndarray:
    values = parts.get(camera)
    found = "nothing" if values is None else f"an array of shape {np.shape(values)}"
    if values is None or np.shape(values) != shape:
        raise SourceError(
            f"{place}: camera {camera} gives {found} instead of {shape}; correct the source, or "
            "the keys cameras and image_size"
        )
    return values


def coded_depth(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 codes between 0 and the largest depth, and these planes (2,), of metres."""
    far = max(float(depth.max()), float(np.finfo(np.float32).tiny))
    return depth_codes(depth / far), np.array([0.0, far])
