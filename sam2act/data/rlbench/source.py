"""Recorded demonstrations in RLBench's layout as a source of episodes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from sam2act.core.actions import DENSE_RATE, EE_DELTA, EE_POSE, KEYFRAME_POSE
from sam2act.core.instructions import as_instruction
from sam2act.core.specs import (
    FINGER_JOINTS,
    GRIPPER_OPEN,
    GRIPPER_POSE,
    JOINT_POSITIONS,
    EnvSpec,
    square_cameras,
)
from sam2act.core.types import Frame
from sam2act.data.recorded_rules import Source, check_cameras
from sam2act.data.rlbench.demo_folders import (
    LOW_DIM_FILE,
    episode_folders,
    episodes_folder,
    warn_of_strays,
    why_absent,
)
from sam2act.data.rlbench.demo_images import IMAGE_KINDS, image_path, read_images
from sam2act.data.rlbench.demos import (
    PICKLE_FILES,
    Episode,
    camera_arrays,
    episode_keyframes,
    frame_labels,
    joint_positions,
    read_episode,
)
from sam2act.data.rlbench.types import DemoError
from sam2act.data.source import AbsentError, EpisodeFacts, Pictures, SourceRequest
from sam2act.data.store.bounds_check import require_live_cameras, require_points
from sam2act.geometry.cameras import measured_depth


class AbsentDemosError(DemoError, AbsentError):
    """The demos of a task are not there."""


class RLBenchSource:
    """The episodes in `<folder>/<split>/<task>/all_variations/episodes/`."""

    def __init__(self, request: SourceRequest) -> None:
        self.request = request
        self._folders: dict[int, Path] = {}
        self._latest: tuple[int, Episode] | None = None

    @property
    def spec(self) -> EnvSpec:
        """What demos hold; whether a camera was recorded shows when its images are read."""
        request = self.request
        return EnvSpec(
            camera_specs=square_cameras(request.cameras, request.image_size, depth=True),
            state=(GRIPPER_OPEN, FINGER_JOINTS, GRIPPER_POSE, JOINT_POSITIONS),
            actions=(KEYFRAME_POSE, EE_POSE, EE_DELTA),
        )

    @property
    def rate(self) -> float:
        """Frames per second of RLBench."""
        return DENSE_RATE

    def episodes(self) -> list[int]:
        """Numbers of the folders episode<N>; others are named in the log.

        Raises:
            AbsentDemosError: the folder of the task is absent.
            DemoError: it holds no episode, or two of the same number.
        """
        place = (self.request.folder, self.request.split, self.request.task)
        if not episodes_folder(*place).is_dir():
            raise AbsentDemosError(why_absent(*place))
        self._folders = episode_folders(*place)
        warn_of_strays(*place)
        return list(self._folders)

    def facts(self, number: int) -> EpisodeFacts:
        """Length, keyframes and variation."""
        episode = self._episode(number)
        keyframes = episode_keyframes(episode, self.request.options.get("gripper_threshold"))
        return EpisodeFacts(len(episode.demo), tuple(keyframes), episode.variation_number)

    def instruction(self, number: int) -> str:
        """The first description, or with the option `wordings` a later one of some episodes."""
        descriptions = self._episode(number).descriptions
        count = min(self.request.options.get("wordings", 1), len(descriptions))
        return as_instruction(descriptions[number % count])

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        """Gripper and collision flag of every frame, checked; joints where they were recorded."""
        options = self.request.options
        labels = frame_labels(
            self._episode(number),
            options.get("gripper_threshold"),
            options.get("assume_ignore_collisions"),
        )
        states = {n: values.reshape(len(values), -1) for n, values in labels._asdict().items()}
        joints = joint_positions(self._episode(number))
        return states if joints is None else {**states, JOINT_POSITIONS.name: joints}

    def actions(self, number: int) -> None:
        """None: RLBench records poses and no commands."""

    def frame(self, number: int, index: int) -> Frame:
        """Images, depth in metres and state of one frame."""
        pictures = self.pictures(number, [index], depth=True)
        assert pictures.calibration is not None
        calibration = pictures.calibration
        near, far = torch.from_numpy(calibration.depth_range[0]).unbind(-1)
        depth = measured_depth(torch.from_numpy(pictures.images[0, 1]), near, far).numpy()
        states = self.states(number)
        return Frame(
            rgb=self._by_camera(pictures.images[0, 0]),
            state={
                part.name: states[part.name][index]
                for part in self.spec.state
                if part.name in states
            },
            depth=self._by_camera(depth),
            intrinsics=self._by_camera(calibration.intrinsics[0]),
            extrinsics=self._by_camera(calibration.extrinsics[0]),
        )

    def pictures(self, number: int, frames: Sequence[int], *, depth: bool) -> Pictures:
        """Colours and, with the calibration, depth codes as they were recorded.

        Raises:
            DemoError: an image or a matrix is absent or damaged, a camera is dead, or a frame
                has no measured depth.
        """
        episode = self._episode(number)
        cameras, size = self.request.cameras, self.request.image_size
        if not depth:
            images = read_images(episode.folder, frames, cameras, size, IMAGE_KINDS[:1])
            return Pictures(images, None)
        calibration = camera_arrays(episode, frames, cameras)
        images = read_images(episode.folder, frames, cameras, size)
        source = Source.frames(episode.folder / LOW_DIM_FILE, frames)
        check_cameras(source, cameras, size, *calibration)
        require_live_cameras(str(episode.folder), images, cameras)
        require_points(episode.folder, frames, images, calibration, cameras)
        return Pictures(images, calibration)

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        """Digest of the content of the pickles, and of size and time of the images."""
        folder = self._folder(number)
        digest = hashlib.sha256()
        for name in PICKLE_FILES:
            path = folder / name
            digest.update(path.read_bytes() if path.is_file() else b"absent")
        for camera in self.request.cameras:
            for kind in IMAGE_KINDS:
                for frame in frames:
                    try:
                        status = image_path(folder, camera, kind, frame).stat()
                        digest.update(f"{status.st_size} {status.st_mtime_ns};".encode())
                    except OSError:
                        digest.update(b"absent;")
        return digest.hexdigest()

    def _folder(self, number: int) -> Path:
        if not self._folders:
            self.episodes()
        return self._folders[number]

    def _episode(self, number: int) -> Episode:
        """The pickles of an episode; those of the latest one are kept."""
        if self._latest is None or self._latest[0] != number:
            self._latest = number, read_episode(self._folder(number))
        return self._latest[1]

    def _by_camera(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.request.cameras, values, strict=True))
