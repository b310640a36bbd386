"""UMI's recordings as a source: a zarr store, in a folder, a zip file or a tar.lz4 archive.

    data/camera0_rgb                 (N, H, W, 3) uint8
    data/robot0_eef_pos              (N, 3) metres
    data/robot0_eef_rot_axis_angle   (N, 3) rotation vector, radians
    data/robot0_gripper_width        (N, 1) metres
    data/robot0_demo_start_pose      (N, 6) where the episode began, the same in every row
    meta/episode_ends                (E,)

Of 60 frames a second every third is a step, as published, so that an episode of the store is three
episodes here, which begin with its first, second and third frame. The action of a step is the pose
and the width that were recorded at it. Legend: N frames of all episodes, E episodes, H W image
size, T steps of an episode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sam2act.core.actions import EE_POSE_6D
from sam2act.data.exchange import PlainEpisode
from sam2act.data.plain_source import PlainSource
from sam2act.data.pose_targets import pose_targets
from sam2act.data.source import SourceError
from sam2act.data.zarr.files import find_store, zarr_problem
from sam2act.data.zarr.replay_buffer import BufferReader

STEP = 3  # frames of a store per step
FRAME_RATE = 60.0  # Hz
POSE = ("robot0_eef_pos", "robot0_eef_rot_axis_angle", "robot0_gripper_width")
SECOND_ARM = "robot1_eef_pos"


class UmiReader:
    """The episodes of one store."""

    action_mode = EE_POSE_6D.mode
    rate = FRAME_RATE / STEP

    def __init__(self, path: Path, task: str) -> None:
        """Open it.

        Raises:
            SourceError: it is no store of recordings with one gripper.
        """
        self.path = path
        self._buffer = BufferReader(path, task)

    def episodes(self) -> Sequence[int]:
        """Three for each episode of the store."""
        return range(STEP * len(self._buffer.episodes()))

    def read(self, number: int) -> PlainEpisode:
        """One of them.

        Raises:
            SourceError: it lacks the pose or the width of the gripper, or has two arms.
        """
        place, first = divmod(number, STEP)
        whole = self._buffer.read(place)
        numbers = {name: values[first::STEP] for name, values in whole.numbers.items()}
        absent = [name for name in POSE if name not in numbers]
        if absent or SECOND_ARM in numbers:
            found = f"has no data/{absent[0]}" if absent else "has two arms"
            raise SourceError(
                f"{self.path}: {found}; this source reads recordings of one gripper, with "
                f"{', '.join(POSE)}"
            )
        parts = [numbers[name].reshape(len(numbers[name]), -1) for name in POSE]
        commands = np.concatenate(parts, axis=1)
        if commands.shape[1] != 7 or not len(commands):
            raise SourceError(
                f"{self.path}: episode {place} has a pose and width of shape {commands.shape}, "
                "expected (T, 7) with T > 0; copy the store again"
            )
        return dataclasses.replace(
            whole,
            length=len(commands),
            numbers=numbers,
            image=lambda name, frame: whole.image(name, first + STEP * frame),
            actions=pose_targets(commands),
        )

    def digest(self, number: int) -> str:
        """Digest of the files of the store."""
        return self._buffer.digest(number // STEP)


class UmiSource(PlainSource):
    """The recordings of one task."""

    @staticmethod
    def problem() -> str:
        """What is lacking to read them; empty if nothing is."""
        return zarr_problem()

    def open(self) -> UmiReader:
        """The reader of the store."""
        request = self.request
        return UmiReader(find_store(request.folder, request.split, request.task), request.task)
