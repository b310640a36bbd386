"""Replay buffers in Diffusion Policy's layout as a source of episodes.

`data/<key>` holds the frames of all episodes one after the other, `meta/episode_ends` where each of
them ends. A camera `front` is the array `front`, `front_rgb` or `front_image` (N, H, W, 3) of
whole numbers from 0 to 255; the array `action` holds actions, every other one a part of the state.

Attributes of the group, all optional, say what the arrays do not:

    rate            frames per second
    instruction     what the robot was told; `instructions` has one text per episode
    action_mode     control mode of `action` ("raw")

What buffers written by this package hold besides is described in `replay_buffer_writer.py`.
Legend: N frames of all episodes, T frames of one, F frames that are asked for, K camera, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2act.core.actions import EE_DELTA, EE_POSE, KEYFRAME_POSE, ActionSpec, Component
from sam2act.core.specs import (
    FINGER_JOINTS,
    GRIPPER_OPEN,
    GRIPPER_POSE,
    JOINT_POSITIONS,
    CameraSpec,
    EnvSpec,
)
from sam2act.core.types import Frame
from sam2act.core.wording import listing
from sam2act.data.source import CameraArrays, EpisodeFacts, Pictures, SourceError, SourceRequest
from sam2act.data.zarr.files import (
    Rows,
    files_digest,
    find_store,
    open_group,
    zarr_problem,
)
from sam2act.geometry.cameras import measured_depth

ACTION, ENDS, KEYFRAME = "action", "episode_ends", "keyframe"
COLOURS = ("", "_rgb", "_image")  # what may follow the name of a camera
DEPTH_CODE, DEPTH_RANGE = "_depth_code", "_depth_range"
MATRICES = {"_intrinsics": (3, 3), "_extrinsics": (4, 4)}
GEOMETRY = (DEPTH_CODE, DEPTH_RANGE, *MATRICES)
RAW = "raw"
_PARTS = {part.name: part for part in (GRIPPER_OPEN, FINGER_JOINTS, GRIPPER_POSE, JOINT_POSITIONS)}
_MODES = {spec.mode: spec for spec in (KEYFRAME_POSE, EE_POSE, EE_DELTA)}


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


class ReplayBufferSource:
    """The episodes of the store `<folder>/<split>/<task>.zarr`, or of `<folder>` itself."""

    def __init__(self, request: SourceRequest) -> None:
        self.request = request
        self._known = KNOWN.get(request.task)
        self._rows: dict[str, Rows] = {}

    @staticmethod
    def problem() -> str:
        """What is lacking to read stores; empty if nothing is."""
        return zarr_problem()

    @property
    def spec(self) -> EnvSpec:
        """All cameras, with their sizes, all other arrays as parts of the state, the actions.

        Raises:
            SourceError: the store is absent or damaged, or nothing tells its rate.
        """
        sizes = {name: self._data[key].shape[1:3] for name, key in self.cameras.items()}
        return EnvSpec(
            camera_specs=tuple(
                CameraSpec(name, int(height), int(width), self._has_geometry(name))
                for name, (height, width) in sizes.items()
            ),
            state=tuple(self._part(name) for name in self._state_names),
            actions=self._actions(),
        )

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
        """0, 1, ... in the order of the buffer.

        Raises:
            AbsentError: there is no store of the task.
            SourceError: its episodes and frames do not agree.
        """
        return range(len(self._ends))

    def facts(self, number: int) -> EpisodeFacts:
        """Length, keyframes where they are marked, and the variation where it is known."""
        keyframes: tuple[int, ...] = ()
        if KEYFRAME in self._data:
            marks = self._values(KEYFRAME, number).reshape(-1)
            keyframes = tuple(np.flatnonzero(marks).tolist())
        length = len(self._frames(number))
        return EpisodeFacts(length, keyframes, self._told(number).get("variation"))

    def instruction(self, number: int) -> str:
        """What the attributes say, or what is known of the data set; else the name of the task."""
        texts = self._attributes.get("instructions")
        if texts is not None:
            return str(texts[number])
        default = self._known.instruction if self._known else self.request.task.replace("_", " ")
        return str(self._attributes.get("instruction", default))

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        """Every array that is neither image, calibration nor action: (T, n), in full precision."""
        return {name: self._state(name, self._frames(number)) for name in self._state_names}

    def actions(self, number: int) -> np.ndarray | None:
        """(T, A) as recorded; None = there are none."""
        if ACTION not in self._data:
            return None
        return self._values(ACTION, number).reshape(len(self._frames(number)), -1)

    def frame(self, number: int, index: int) -> Frame:
        """Images, state and, where they were recorded, depth in metres and calibration."""
        depth = all(self._has_geometry(camera) for camera in self.request.cameras)
        pictures = self.pictures(number, [index], depth=depth)
        where = self._frames(number)[[index]]
        state = {name: self._state(name, where)[0] for name in self._state_names}
        geometry: dict[str, Any] = {}
        if pictures.calibration is not None:
            ranges, intrinsics, extrinsics = (part[0] for part in pictures.calibration)
            near, far = torch.from_numpy(ranges).unbind(-1)
            metres = measured_depth(torch.from_numpy(pictures.images[0, 1]), near, far).numpy()
            for name, values in zip(
                ("depth", "intrinsics", "extrinsics"), (metres, intrinsics, extrinsics), strict=True
            ):
                geometry[name] = dict(zip(self.request.cameras, values, strict=True))
        colours = dict(zip(self.request.cameras, pictures.images[0, 0], strict=True))
        return Frame(rgb=colours, state=state, **geometry)

    def pictures(self, number: int, frames: Sequence[int], *, depth: bool) -> Pictures:
        """Colours and, with the calibration, depth codes as they were recorded.

        Raises:
            SourceError: a camera is absent, has another size or no depth, or a pixel is no whole
                number from 0 to 255.
        """
        where = self._frames(number)[list(frames)]
        cameras, side = self.request.cameras, self.request.image_size
        images = np.empty((len(where), 1 + depth, len(cameras), side, side, 3), np.uint8)
        for column, camera in enumerate(cameras):
            key = self._camera_key(camera)
            self._require_size(camera, key)
            for mine, block in self._of(key).blocks(where):
                images[mine, 0, column] = self._whole(key, block)
            if depth:
                self._require_geometry(camera)
                images[:, 1, column] = self._of(camera + DEPTH_CODE).take(where)
        return Pictures(images, self._calibration(where) if depth else None)

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        """Digest of names, sizes and times of all files; chunks hold several episodes."""
        return self._digest

    # ------------------------------------------------------------------------- of the store
    @cached_property
    def path(self) -> Path:
        """Where the store lies."""
        return find_store(self.request.folder, self.request.split, self.request.task)

    @cached_property
    def cameras(self) -> dict[str, str]:
        """Camera -> its array."""
        found = {}
        for key, array in self._data.items():
            if array.ndim == 4 and array.shape[-1] == 3 and not key.endswith(DEPTH_CODE):
                suffix = next((s for s in COLOURS if s and key.endswith(s)), "")
                found[key.removesuffix(suffix)] = key
        return found

    @cached_property
    def _data(self) -> dict[str, Any]:
        group = self._group
        if "data" not in group or f"meta/{ENDS}" not in group:
            raise SourceError(
                f"{self.path}: lacks data or meta/{ENDS}, so it is no replay buffer of Diffusion "
                "Policy's layout; check data_folder"
            )
        return dict(group["data"].arrays())

    @cached_property
    def _group(self) -> Any:
        return open_group(self.path)

    @cached_property
    def _attributes(self) -> dict[str, Any]:
        return dict(self._group.attrs)

    @cached_property
    def _digest(self) -> str:
        return files_digest(self.path)

    @cached_property
    def _ends(self) -> np.ndarray:
        """(E,) int64: row after the last one of each episode."""
        data = self._data
        ends = np.asarray(self._group[f"meta/{ENDS}"][:], np.int64)
        if not len(ends) or (np.diff(ends, prepend=0) <= 0).any():
            raise SourceError(
                f"{self.path}: meta/{ENDS} must grow from episode to episode; copy it again"
            )
        wrong = [key for key, array in data.items() if array.shape[:1] != (ends[-1],)]
        if wrong:
            raise SourceError(
                f"{self.path}: meta/{ENDS} ends at {ends[-1]}, but data/{wrong[0]} has shape "
                f"{data[wrong[0]].shape}; copy the store again"
            )
        return ends

    @property
    def _state_names(self) -> list[str]:
        images = {*self.cameras.values(), *self._geometry_keys()}
        names = [key for key in self._data if key not in images | {ACTION, KEYFRAME}]
        return [*names, *(self._known.parts if self._known else ())]

    def _geometry_keys(self) -> set[str]:
        return {camera + suffix for camera in self.cameras for suffix in GEOMETRY}

    def _part(self, name: str) -> Component:
        key, columns = self._place_of(name)
        size = len(range(*columns.indices(int(np.prod(self._data[key].shape[1:])))))
        part = _PARTS.get(name)
        return part if part is not None and part.size == size else Component(name, size, "")

    def _place_of(self, name: str) -> tuple[str, slice]:
        if self._known and name in self._known.parts:
            return self._known.parts[name]
        return name, slice(None)

    def _state(self, name: str, where: np.ndarray) -> np.ndarray:
        key, columns = self._place_of(name)
        return self._of(key).take(where).reshape(len(where), -1)[:, columns]

    def _actions(self) -> tuple[ActionSpec, ...]:
        """The recorded actions, and those that follow from recorded poses and keyframes."""
        rate = self.rate
        names = {part.name for part in map(self._part, self._state_names)}
        given = {}
        if {GRIPPER_POSE.name, GRIPPER_OPEN.name} <= names:
            given = {spec.mode: replace(spec, rate=rate) for spec in (EE_POSE, EE_DELTA)}
        if KEYFRAME in self._data:
            given[KEYFRAME_POSE.mode] = KEYFRAME_POSE
        mode = self._attributes.get("action_mode", RAW)
        if ACTION in self._data and mode not in given:
            size = int(np.prod(self._data[ACTION].shape[1:]))
            known = _MODES.get(mode)
            components = known.components if known else (Component(ACTION, size, ""),)
            given[mode] = ActionSpec(mode, components, rate=rate)
        return tuple(given.values())

    def _frames(self, number: int) -> np.ndarray:
        """(T,) rows of an episode."""
        if not 0 <= number < len(self._ends):
            raise SourceError(f"{self.path}: holds {len(self._ends)} episodes, not number {number}")
        return np.arange(self._ends[number - 1] if number else 0, self._ends[number])

    def _values(self, key: str, number: int) -> np.ndarray:
        return self._of(key).take(self._frames(number))

    def _of(self, key: str) -> Rows:
        if key not in self._rows:
            self._rows[key] = Rows(self._data[key], f"{self.path}/data/{key}")
        return self._rows[key]

    def _told(self, number: int) -> dict[str, Any]:
        told = self._attributes.get("episodes")
        return dict(told[number]) if told else {}

    # ------------------------------------------------------------------------------ images
    def _camera_key(self, camera: str) -> str:
        if camera not in self.cameras:
            raise SourceError(
                f"{self.path}: has no camera {camera}, but {listing(self.cameras) or 'none'}; "
                "correct the key cameras"
            )
        return self.cameras[camera]

    def _require_size(self, camera: str, key: str) -> None:
        height, width = self._data[key].shape[1:3]
        side = self.request.image_size
        if (height, width) != (side, side):
            raise SourceError(
                f"{self.path}: camera {camera} has {width} x {height} pixels (width x height), but "
                f"image_size is {side}; correct image_size"
            )

    def _has_geometry(self, camera: str) -> bool:
        return all(camera + suffix in self._data for suffix in GEOMETRY)

    def _require_geometry(self, camera: str) -> None:
        lacking = [camera + suffix for suffix in GEOMETRY if camera + suffix not in self._data]
        if lacking:
            raise SourceError(
                f"{self.path}: has colours of camera {camera} but no {listing(lacking)}, which a "
                "policy that reads depth needs; train one of colours (sam2act doctor lists them)"
            )

    def _whole(self, key: str, values: np.ndarray) -> np.ndarray:
        """The pixels as uint8."""
        pixels = values.astype(np.uint8)
        if values.dtype != np.uint8 and not np.array_equal(pixels, values):
            raise SourceError(
                f"{self.path}/data/{key}: pixels are {values.dtype} and not all whole numbers from "
                "0 to 255; write them as uint8"
            )
        return pixels

    def _calibration(self, where: np.ndarray) -> CameraArrays:
        shapes = {DEPTH_RANGE: (2,), **MATRICES}
        parts = [
            np.stack(
                [
                    self._of(camera + suffix).take(where).reshape(len(where), *shape)
                    for camera in self.request.cameras
                ],
                axis=1,
            ).astype(np.float64)
            for suffix, shape in shapes.items()
        ]
        return CameraArrays(*parts)
