"""Plain episodes of any format as a source of training data.

Legend: T frames of an episode, F frames that are asked for, K camera, H W image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sam2act.core.actions import EE_DELTA, EE_POSE, EE_POSE_6D, KEYFRAME_POSE, ActionSpec, Component
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
from sam2act.data.exchange import (
    CALIBRATION,
    DEPTH_CODE,
    DEPTH_RANGE,
    EXTRINSICS,
    INTRINSICS,
    RGB,
    EpisodeReader,
    PlainEpisode,
)
from sam2act.data.keyframes_only import COMING_FLAGS
from sam2act.data.recorded_rules import Source, check_cameras, gripper_states
from sam2act.data.rlbench.keyframes import find_keyframes
from sam2act.data.source import CameraArrays, EpisodeFacts, Pictures, SourceError, SourceRequest
from sam2act.geometry.cameras import measured_depth

RAW = "raw"
_PARTS = {part.name: part for part in (GRIPPER_OPEN, FINGER_JOINTS, GRIPPER_POSE, JOINT_POSITIONS)}
_MODES = {spec.mode: spec for spec in (KEYFRAME_POSE, EE_POSE, EE_DELTA, EE_POSE_6D)}
_VELOCITIES = "joint_velocities"


class PlainReader(EpisodeReader, Protocol):
    """A reader of plain episodes with what a source needs besides."""

    path: Path
    action_mode: str  # control mode of recorded actions

    def digest(self, number: int) -> str:
        """Digest of the files of an episode."""
        ...


class PlainSource:
    """The episodes of a `PlainReader`."""

    def __init__(self, request: SourceRequest) -> None:
        self.request = request
        self._latest: tuple[int, PlainEpisode] | None = None

    def open(self) -> PlainReader:
        """Who reads the episodes of the request."""
        raise NotImplementedError

    @cached_property
    def reader(self) -> PlainReader:
        """Who reads; opened once."""
        return self.open()

    @property
    def spec(self) -> EnvSpec:
        """Cameras with their sizes, parts of the state, and actions, as the first episode has
        them.

        Raises:
            SourceError: the data are absent or damaged, or nothing tells their rate.
        """
        episode = self._episode(self.episodes()[0])
        cameras = [
            CameraSpec(camera, *episode.images[camera + RGB], _has_depth(episode, camera))
            for camera in episode.cameras
        ]
        state = [_part(name, episode.numbers[name]) for name in _state_names(episode)]
        return EnvSpec(tuple(cameras), tuple(state), self._actions(episode))

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.reader.rate

    def episodes(self) -> Sequence[int]:
        """The numbers of the episodes.

        Raises:
            AbsentError: there are no data of the task.
        """
        return self.reader.episodes()

    def facts(self, number: int) -> EpisodeFacts:
        """Length, keyframes and variation.

        Keyframes are those that were marked, else those of the heuristic where the speeds of the
        joints and the state of the gripper were recorded.

        Raises:
            SourceError: the episode was reduced to its keyframes.
        """
        episode = self._episode(number)
        if COMING_FLAGS in episode.facts:
            raise SourceError(
                f"{self.reader.path}: holds keyframes alone, which are for trainings in LeRobot; "
                "train on the recording that it was converted from"
            )
        keyframes = tuple(self._keyframes(episode, number))
        return EpisodeFacts(episode.length, keyframes, episode.facts.get("variation"))

    def instruction(self, number: int) -> str:
        """The main one."""
        return self._episode(number).instructions[0]

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        """All numbers but the calibration: (T, n), in full precision."""
        episode = self._episode(number)
        states = {
            name: episode.numbers[name].reshape(episode.length, -1)
            for name in _state_names(episode)
        }
        assumed = self.request.options.get("assume_ignore_collisions")
        if assumed is not None and "ignore_collisions" not in states:
            states["ignore_collisions"] = np.full((episode.length, 1), float(assumed))
        if self._threshold is not None and GRIPPER_OPEN.name in states:
            states[GRIPPER_OPEN.name] = self._gripper(episode, number)[:, None]
        return states

    def actions(self, number: int) -> np.ndarray | None:
        """(T or T - 1, A) as recorded; None = there are none."""
        return self._episode(number).actions

    def frame(self, number: int, index: int) -> Frame:
        """Images, state and, where all cameras of the request have them, depth and calibration."""
        episode, cameras = self._episode(number), self.request.cameras
        depth = all(_has_depth(episode, camera) for camera in cameras)
        pictures = self.pictures(number, [index], depth=depth)
        state = {name: values[index] for name, values in self.states(number).items()}
        geometry: dict[str, Any] = {}
        if pictures.calibration is not None:
            ranges, intrinsics, extrinsics = (part[0] for part in pictures.calibration)
            near, far = torch.from_numpy(ranges).unbind(-1)
            metres = measured_depth(torch.from_numpy(pictures.images[0, 1]), near, far).numpy()
            parts = {"depth": metres, "intrinsics": intrinsics, "extrinsics": extrinsics}
            geometry = {n: dict(zip(cameras, v, strict=True)) for n, v in parts.items()}
        colours = dict(zip(cameras, pictures.images[0, 0], strict=True))
        return Frame(rgb=colours, state=state, **geometry)

    def pictures(self, number: int, frames: Sequence[int], *, depth: bool) -> Pictures:
        """Colours and, with the calibration, depth codes as they were recorded.

        Raises:
            SourceError: a camera is absent, has another size, or no depth or calibration.
            DemoError: a matrix is not one of a camera.
        """
        episode = self._episode(number)
        cameras, side = self.request.cameras, self.request.image_size
        images = np.empty((len(frames), 1 + depth, len(cameras), side, side, 3), np.uint8)
        for column, camera in enumerate(cameras):
            self._require(episode, camera, depth)
            for row, frame in enumerate(frames):
                images[row, 0, column] = episode.image(camera + RGB, frame)
                if depth:
                    images[row, 1, column] = episode.image(camera + DEPTH_CODE, frame)
        if not depth:
            return Pictures(images, None)
        calibration = CameraArrays(
            *(
                np.stack([episode.numbers[c + suffix][list(frames)] for c in cameras], axis=1)
                .reshape(len(frames), len(cameras), *CALIBRATION[suffix])
                .astype(np.float64)
                for suffix in (DEPTH_RANGE, INTRINSICS, EXTRINSICS)
            )
        )
        check_cameras(self._place(number, frames), cameras, side, *calibration)
        return Pictures(images, calibration)

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        """Digest of the files that the episode is read from."""
        return self.reader.digest(number)

    # ------------------------------------------------------------------------------------
    @property
    def _threshold(self) -> float | None:
        return self.request.options.get("gripper_threshold")

    def _episode(self, number: int) -> PlainEpisode:
        """An episode; the latest one is kept."""
        if self._latest is None or self._latest[0] != number:
            self._latest = number, self.reader.read(number)
        return self._latest[1]

    def _place(self, number: int, frames: Sequence[int]) -> Source:
        return Source.frames(self.reader.path / f"episode {number}", frames)

    def _gripper(self, episode: PlainEpisode, number: int) -> np.ndarray:
        """(T,) 0 or 1."""
        values = episode.numbers[GRIPPER_OPEN.name].reshape(-1).astype(np.float64)
        return gripper_states(self._place(number, range(episode.length)), values, self._threshold)

    def _keyframes(self, episode: PlainEpisode, number: int) -> list[int]:
        marked = episode.facts.get("keyframes")
        if marked:
            return list(marked)
        if not {_VELOCITIES, GRIPPER_OPEN.name} <= set(episode.numbers):
            return []
        velocities = episode.numbers[_VELOCITIES].reshape(episode.length, -1)
        return find_keyframes(velocities, self._gripper(episode, number).tolist())

    def _actions(self, episode: PlainEpisode) -> tuple[ActionSpec, ...]:
        """The recorded actions, and those that follow from recorded poses and keyframes."""
        rate, names = self.rate, set(episode.numbers)
        given: dict[str, ActionSpec] = {}
        if {GRIPPER_POSE.name, GRIPPER_OPEN.name} <= names:
            given = {spec.mode: replace(spec, rate=rate) for spec in (EE_POSE, EE_DELTA)}
            if episode.facts.get("keyframes") or _VELOCITIES in names:
                given[KEYFRAME_POSE.mode] = KEYFRAME_POSE
        mode = self.reader.action_mode
        if episode.actions is not None and mode not in given:
            known = _MODES.get(mode)
            numbers = (Component("action", episode.actions.shape[1], ""),)
            given[mode] = ActionSpec(mode, known.components if known else numbers, rate=rate)
        return tuple(given.values())

    def _require(self, episode: PlainEpisode, camera: str, depth: bool) -> None:
        path = self.reader.path
        if camera not in episode.cameras:
            raise SourceError(
                f"{path}: has no camera {camera}, but {listing(episode.cameras) or 'none'}; "
                "correct the key cameras"
            )
        height, width = episode.images[camera + RGB]
        side = self.request.image_size
        if (height, width) != (side, side):
            raise SourceError(
                f"{path}: camera {camera} has {width} x {height} pixels (width x height), but "
                f"image_size is {side}; correct image_size, or convert the data with --image-size"
            )
        lacking = [s for s in (DEPTH_CODE, *CALIBRATION) if not _has(episode, camera + s)]
        if depth and lacking:
            raise SourceError(
                f"{path}: has colours of camera {camera} but no "
                f"{listing(camera + s for s in lacking)}, which a policy that reads depth needs; "
                "train a policy of colours, or convert the data again with depth and calibration"
            )


def _has(episode: PlainEpisode, name: str) -> bool:
    return name in episode.numbers or name in episode.images


def _has_depth(episode: PlainEpisode, camera: str) -> bool:
    return all(_has(episode, camera + suffix) for suffix in (DEPTH_CODE, *CALIBRATION))


def _state_names(episode: PlainEpisode) -> list[str]:
    return [name for name in episode.numbers if not name.endswith(tuple(CALIBRATION))]


def _part(name: str, values: np.ndarray) -> Component:
    size = int(np.prod(values.shape[1:]))
    known = _PARTS.get(name)
    return known if known is not None and known.size == size else Component(name, size, "")
