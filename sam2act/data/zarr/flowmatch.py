"""Samples in the layout of 3D FlowMatch Actor for PerAct's tasks: one group per split.

A sample stands at the start of an episode or at a keyframe; its action is the next keyframe. Depth
and calibration are not kept: points are, in half precision, so episodes cannot be made of samples
again. Legend: N samples, K cameras, H W image size, hands 1.

    rgb             (N, K, 3, H, W) uint8
    pcd             (N, K, 3, H, W) float16 metres, world; 0, 0, 0 where nothing was measured
    proprioception  (N, 3, 1, 8) float32: position, quaternion xyzw, open of the two keyframes
                    before and of now; what lies before the start repeats it
    action          (N, 1, 1, 8) float32: the same of the next keyframe
    task_id         (N,) uint8: place of the task in the attribute `tasks`
    variation       (N,) uint8
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sam2act.data.exchange import (
    CALIBRATION,
    DEPTH_CODE,
    DEPTH_RANGE,
    EXTRINSICS,
    INTRINSICS,
    RGB,
    PlainEpisode,
)
from sam2act.data.source import SourceError
from sam2act.data.zarr.files import open_group, require_writing, zarr
from sam2act.geometry.cameras import measured_depth, unproject

HISTORY = 3
_STATE = ("gripper_pose", "gripper_open")


class FlowMatchSample(NamedTuple):
    """One sample; shapes as above, without N."""

    rgb: np.ndarray
    pcd: np.ndarray
    proprioception: np.ndarray
    action: np.ndarray
    task_id: np.ndarray
    variation: np.ndarray


class FlowMatchWriter:
    """Appends the samples of episodes of one task to the store of a split."""

    def __init__(self, path: Path, task: str, cameras: Sequence[str], form: int = 2) -> None:
        """Begin a store, or go on with one of this class.

        Args:
            path: folder of the store, `<split>.zarr`.
            task: its name; several tasks may share a store, one after the other.
            cameras: in the order of axis K; empty = all of the first episode, sorted.
            form: format of zarr, 2 or 3.

        Raises:
            SourceError: zarr is too old to write.
        """
        require_writing()
        options = {} if path.exists() else {"zarr_format": form}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._group = zarr().open_group(str(path), mode="a", **options)
        self._path, self._task = path, task
        self._cameras = list(self._group.attrs.get("cameras", cameras))
        tasks = list(self._group.attrs.get("tasks", []))
        self._tasks = tasks if task in tasks else [*tasks, task]

    def written(self) -> int:
        """Episodes of the task whose samples are there."""
        return int(self._group.attrs.get("episodes", {}).get(self._task, 0))

    def finish(self) -> None:
        """Nothing is left to do."""

    def add(self, episode: PlainEpisode) -> None:
        """Append the samples of one.

        Raises:
            SourceError: it has no keyframes, no pose of the gripper, or a camera without depth.
        """
        self._cameras = self._cameras or sorted(episode.cameras)
        columns = self._samples(episode)
        first = int(self._group.attrs.get("samples", 0))
        for name, values in columns._asdict().items():
            if name not in self._group:
                chunks = (1 if values.ndim == 5 else 4096, *values.shape[1:])
                shape = (0, *values.shape[1:])
                self._group.create_array(name, shape=shape, dtype=values.dtype, chunks=chunks)
            array = self._group[name]
            if array.shape[1:] != values.shape[1:]:
                raise SourceError(
                    f"{self._path}: {name} has shape {values.shape[1:]} per sample, that of "
                    f"earlier ones {array.shape[1:]}; a store holds one set of cameras"
                )
            array.resize((first + len(values), *values.shape[1:]))
            array[first:] = values
        counts = {**self._group.attrs.get("episodes", {}), self._task: self.written() + 1}
        self._group.attrs.update(
            {
                "tasks": self._tasks,
                "cameras": self._cameras,
                "episodes": counts,
                "samples": first + len(columns.action),
            }
        )

    def _samples(self, episode: PlainEpisode) -> FlowMatchSample:
        """All samples of an episode, stacked."""
        keyframes = list(episode.facts.get("keyframes") or ())
        lacking = [name for name in _STATE if name not in episode.numbers]
        if lacking or not keyframes:
            what = ", ".join(lacking) or "keyframes"
            raise SourceError(f"{self._task}: an episode has no {what}, so it gives no samples")
        poses = np.concatenate(
            [episode.numbers[n].reshape(episode.length, -1) for n in _STATE], axis=1
        ).astype(np.float32)
        seen = [0, *keyframes[:-1]]
        history = [[seen[max(0, i - back)] for back in (2, 1, 0)] for i in range(len(seen))]
        views = [[self._view(episode, camera, f) for camera in self._cameras] for f in seen]
        count = len(seen)
        variation = int(episode.facts.get("variation") or 0)
        return FlowMatchSample(
            rgb=np.stack([[colours for colours, _ in row] for row in views]),
            pcd=np.stack([[points for _, points in row] for row in views]),
            proprioception=poses[np.array(history)][:, :, None],
            action=poses[keyframes][:, None, None],
            task_id=np.full(count, self._tasks.index(self._task), np.uint8),
            variation=np.full(count, variation, np.uint8),
        )

    def _view(
        self, episode: PlainEpisode, camera: str, frame: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(3, H, W) colours and points."""
        there = {*episode.images, *episode.numbers}
        lacking = {camera + s for s in (RGB, DEPTH_CODE, *CALIBRATION)} - there
        if lacking:
            raise SourceError(
                f"{self._task}: an episode has no {', '.join(sorted(lacking))}, so camera {camera} "
                "gives no points; name other cameras"
            )
        numbers = (
            torch.from_numpy(np.array(episode.numbers[camera + suffix][frame], np.float64))
            for suffix in (DEPTH_RANGE, INTRINSICS, EXTRINSICS)
        )
        (near, far), intrinsics, extrinsics = numbers
        code = torch.from_numpy(np.array(episode.image(camera + DEPTH_CODE, frame)))
        points = unproject(measured_depth(code, near, far), intrinsics, extrinsics).numpy()
        points = np.nan_to_num(points, nan=0.0).astype(np.float16)
        return episode.image(camera + RGB, frame).transpose(2, 0, 1), points.transpose(2, 0, 1)


class FlowMatchSamples:
    """The samples of a store, one by one."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            SourceError: it is no such store, or its arrays do not agree.
        """
        group = open_group(path)
        lacking = [name for name in FlowMatchSample._fields if name not in group]
        if lacking:
            raise SourceError(f"{path}: has no {', '.join(lacking)}; it is no store of samples")
        self._arrays: list[Any] = [group[name] for name in FlowMatchSample._fields]
        lengths = {int(array.shape[0]) for array in self._arrays}
        if len(lengths) != 1:
            raise SourceError(f"{path}: its arrays hold {sorted(lengths)} samples; copy it again")
        self._count = lengths.pop()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> FlowMatchSample:
        return FlowMatchSample(*(np.asarray(array[index]) for array in self._arrays))
