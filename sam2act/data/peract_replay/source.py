"""Released replay folders as a source of episodes.

A replay folder holds one pickle per record, `<number>.replay`, the `terminal` values of all records
(`replay_info.npy`) and, in the temporal variant, the groups `init_frame_to_idx.pkl`. Images repeat
in many records, so one record of each frame is read. Stored point clouds are not read: they follow
from depth and calibration. Only the frames that records show are known.

Depth arrives in metres without the clipping planes that it was coded with. It is coded again with
near = 0 and far = the largest depth of the image, so a value moves by at most far / 2^25, which is
below 1e-6 m up to a range of 33 m.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.instructions import LanguageError, described
from sam2act.core.specs import FINGER_JOINTS, GRIPPER_OPEN, EnvSpec, square_cameras
from sam2act.core.types import Frame
from sam2act.core.wording import listing
from sam2act.data.peract_replay.colours import ColourReader
from sam2act.data.peract_replay.files import (
    LABEL_KEYS,
    REPLAY_AGAIN,
    Chain,
    RecordLabels,
    ReplayError,
    check_group,
    read_groups,
    read_images,
    read_labels,
    read_record,
    read_terminals,
    record_numbers,
    source_fingerprint,
    split_chains,
)
from sam2act.data.recorded_rules import Source, check_poses
from sam2act.data.source import CameraArrays, EpisodeFacts, SourceRequest
from sam2act.data.store.bounds_check import require_live_cameras
from sam2act.data.store.writer import StoredEpisode
from sam2act.data.transitions import PADDING, TRANSITION_DTYPE, UNKNOWN_COLLISION
from sam2act.geometry.cameras import measured_depth


class ReplaySource:
    """The episodes in `<folder>/<task>/`, a folder of the released training data."""

    def __init__(self, request: SourceRequest) -> None:
        self.request = request
        self.folder = Path(request.folder) / request.task
        self._colours = ColourReader()
        self._latest: tuple[int, StoredEpisode] | None = None

    @property
    def spec(self) -> EnvSpec:
        """What replays hold; whether they have a camera shows when its images are read."""
        request = self.request
        return EnvSpec(
            camera_specs=square_cameras(request.cameras, request.image_size, depth=True),
            state=(GRIPPER_OPEN, FINGER_JOINTS),
            actions=(KEYFRAME_POSE,),
        )

    @property
    def rate(self) -> None:
        """None: frames between the shown ones are not there."""

    def episodes(self) -> list[int]:
        """Numbers of the episodes, in the order of their records.

        Raises:
            ReplayError: the folder holds none, or is damaged.
        """
        return list(self._chains)

    def facts(self, number: int) -> EpisodeFacts:
        """Keyframes, and the length as far as records show it."""
        entry = self.stored(number).entry
        return EpisodeFacts(entry["num_frames"], tuple(entry["keyframes"]))

    def instruction(self, number: int) -> str:
        """That of the last record of the episode."""
        return str(self.stored(number).entry["instruction"])

    def frame(self, number: int, index: int) -> Frame:
        """Images and state of a frame that a record shows.

        Raises:
            ReplayError: none shows it.
        """
        episode = self.stored(number)
        frames = episode.entry["frames"]
        if index not in frames:
            raise ReplayError(
                f"{self.folder}: no record of episode {number} shows frame {index}; shown are "
                f"{listing(map(str, frames))}"
            )
        row = frames.index(index)
        assert episode.calibration is not None and episode.table is not None
        ranges, intrinsics, extrinsics = (part[row] for part in episode.calibration)
        near, far = torch.from_numpy(ranges).unbind(-1)
        depth = measured_depth(torch.from_numpy(episode.images[row, 1]), near, far).numpy()
        state = episode.table["proprioception"][episode.table["image_row"] == row][0]
        return Frame(
            rgb=self._by_camera(episode.images[row, 0]),
            state={GRIPPER_OPEN.name: state[:1], FINGER_JOINTS.name: state[1:3]},
            depth=self._by_camera(depth),
            intrinsics=self._by_camera(intrinsics),
            extrinsics=self._by_camera(extrinsics),
        )

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        """Nothing: of most frames no state is known."""
        return {}

    def actions(self, number: int) -> None:
        """None: replays hold keyframes alone."""

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        """Digest of the whole folder; its records are not sorted by episode."""
        return source_fingerprint(self.folder)

    def stored(self, number: int) -> StoredEpisode:
        """An episode with its training records, as it enters a store; the latest one is kept.

        Raises:
            ReplayError: a record is absent or damaged, or does not fit the settings.
        """
        if self._latest is None or self._latest[0] != number:
            self._latest = number, self._read(number)
        return self._latest[1]

    @cached_property
    def _chains(self) -> dict[int, list[Chain]]:
        """Episode -> its chains of records."""
        folder = self.folder
        terminal = read_terminals(folder, len(record_numbers(folder)))
        groups = read_groups(folder, terminal)
        chains: dict[int, list[Chain]] = {}
        for chain in split_chains(terminal):
            first = read_record(folder, chain.records[0])
            number = int(first["episode_idx"])
            check_group(folder, groups, number, first, chain)
            chains.setdefault(number, []).append(chain)
        if not chains:
            raise ReplayError(f"{folder}: holds no record that can be sampled; unpack it again")
        return chains

    def _by_camera(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.request.cameras, values, strict=True))

    def _read(self, number: int) -> StoredEpisode:
        """All records of an episode, each image once."""
        request, folder = self.request, self.folder
        files: list[str] = []  # of the rows
        frames: dict[int, int] = {}  # frame number -> row
        images: list[np.ndarray] = []
        calibrations: list[CameraArrays] = []
        rows: list[np.ndarray] = []
        instruction = ""
        for chain in self._chains[number]:
            initial = -1
            for position, record_number in enumerate(chain.records):
                record = read_record(folder, record_number)
                shown = int(record["sample_frame"])
                initial = shown if position == 0 else initial
                path = folder / f"{record_number}.replay"
                files.append(path.name)
                if shown not in frames:
                    frames[shown] = len(frames)
                    pixels, calibration = read_images(
                        record, path, request.cameras, request.image_size, self._colours
                    )
                    images.append(pixels)
                    calibrations.append(calibration)
                instruction = _instruction(record, path)
                row = _table_row(record, number, initial, position, frames[shown])
                rows.append(_labelled(row, read_labels(record, path)))
            if chain.padding is not None:
                path = folder / f"{chain.padding}.replay"
                files.append(path.name)
                labels = read_labels(read_record(folder, chain.padding, LABEL_KEYS), path)
                rows.append(_labelled(_padding_row(rows[-1]), labels))
        table, pixels = np.stack(rows), np.stack(images)
        check_poses(Source(folder, files, ReplayError, REPLAY_AGAIN), table["pose"])
        require_live_cameras(f"{folder}: episode {number}", pixels, request.cameras, ReplayError)
        entry = {
            "episode": number,
            "instruction": instruction,
            "num_frames": int(max(table["target_frame"].max(), *frames)) + 1,
            "keyframes": sorted({int(frame) for frame in table["target_frame"]}),
            "frames": list(frames),
        }
        calibration = CameraArrays(*(np.stack(parts) for parts in zip(*calibrations, strict=True)))
        return StoredEpisode(entry, pixels, calibration, {}, table=table)


def _instruction(record: dict[str, Any], path: Path) -> str:
    try:
        return described(np.asarray(record["lang_goal"], object).reshape(-1))[0]
    except LanguageError as error:
        raise ReplayError(f"{path}: lang_goal: {error}") from error


def _table_row(
    record: dict[str, Any], episode: int, initial: int, position: int, image_row: int
) -> np.ndarray:
    row = np.zeros((), TRANSITION_DTYPE)
    row["episode"] = episode
    row["initial_frame"] = initial
    row["time_index"] = position
    row["sample_frame"] = record["sample_frame"]
    row["keyframe_index"] = record["keypoint_idx"]
    row["target_frame"] = record["next_keypoint_frame"]
    row["terminal"] = record["terminal"]
    row["image_row"] = image_row
    return row


def _padding_row(last: np.ndarray) -> np.ndarray:
    """The padding record after `last`; its own bookkeeping is uninitialised memory."""
    row = last.copy()
    row["time_index"] += 1
    row["sample_frame"] = last["target_frame"]
    row["terminal"] = PADDING
    row["image_row"] = -1
    return row


def _labelled(row: np.ndarray, labels: RecordLabels) -> np.ndarray:
    """The row with its labels filled in."""
    row["gripper_open"] = labels.gripper_open
    row["collision_current"] = labels.ignore_collisions
    row["collision_next"] = UNKNOWN_COLLISION
    row["pose"] = labels.pose
    row["proprioception"] = labels.proprioception
    return row
