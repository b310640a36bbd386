"""Which stored frames have something to look at: usable points, and points inside the bounds.

A frame without any point would train the policy on an empty picture. Usable points are looked for
once, when a store is built. Whether they lie inside `scene_bounds` is checked before training and
remembered beside the store, because the bounds belong to the run.

Legend: F frame, K camera, H W image size.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam2act.data.demos import LOW_DIM_FILE, CameraArrays, image_path
from sam2act.data.rlbench_types import DemoError
from sam2act.data.store import CALIBRATION, KeyframeStore, StoreError, TaskStore
from sam2act.geometry.cameras import decode_depth, unproject
from sam2act.geometry.scene_bounds import SceneBounds

logger = logging.getLogger(__name__)
MEMORY_FILE = "bounds_check.json"
# (pixel stride, frames at a time): nearly every frame shows a point in the first, sparse pass.
_PASSES = ((8, 256), (1, 8))


def frames_without_points(
    depth_code: np.ndarray, calibration: CameraArrays, bounds: SceneBounds | None = None
) -> np.ndarray:
    """(M,) int64: the frames in which no pixel gives a usable point.

    A point is usable if it is finite, its camera's near plane lies before the far plane and, where
    bounds are given, it lies inside them.

    Args:
        depth_code: (F, K, H, W, 3) uint8, high byte first; may be memory-mapped.
        calibration: of these frames.
        bounds: the box that must hold a point, world frame, metres.
    """
    suspects = np.arange(len(depth_code))
    for stride, chunk in _PASSES:
        sparse = depth_code[:, :, ::stride, ::stride]
        empty = np.ones(len(suspects), bool)
        for start in range(0, len(suspects), chunk):
            rows = suspects[start : start + chunk]
            points = _cloud(sparse[rows], CameraArrays(*(c[rows] for c in calibration)), stride)
            inside = points.isfinite().all(-1) if bounds is None else bounds.contains(points)
            empty[start : start + chunk] = ~inside.any(dim=1).numpy()
        suspects = suspects[empty]
    return suspects


def _cloud(depth_code: np.ndarray, calibration: CameraArrays, stride: int = 1) -> Tensor:
    """(F, N, 3) points of every `stride`-th pixel; NaN where a camera has no depth range."""
    near, far = torch.from_numpy(calibration.depth_range).unbind(-1)
    near = torch.where(near < far, near, torch.nan)
    depth = decode_depth(torch.from_numpy(depth_code), near, far)
    intrinsics = torch.from_numpy(calibration.intrinsics).clone()
    intrinsics[..., :2, :] /= stride  # pixel u of the sparse image is pixel u * stride
    return unproject(depth, intrinsics, torch.from_numpy(calibration.extrinsics)).flatten(1, 3)


def require_points(
    folder: Path,
    frames: Sequence[int],
    images: np.ndarray,
    calibration: CameraArrays,
    cameras: Sequence[str],
) -> None:
    """Checks that every frame of an episode has a usable point.

    Args:
        folder: of the episode.
        frames: (F,) their numbers.
        images: (F, 2, K, H, W, 3) uint8, colour and depth code.
        calibration: of these frames.
        cameras: (K,) their names.

    Raises:
        DemoError: a frame has none.
    """
    empty = frames_without_points(images[:, 1], calibration)
    if not len(empty):
        return
    frame = frames[empty[0]]
    depth = ", ".join(str(image_path(folder, camera, "depth", frame)) for camera in cameras)
    raise DemoError(
        f"{folder / LOW_DIM_FILE}: frame {frame} has an empty cloud: with the near and far planes "
        f"and the camera matrices of this file, {depth} give no finite point; record the episode "
        "again or leave it out"
    )


def keep_points_inside(
    store: KeyframeStore, scene_bounds: Sequence[float], *, skip_bad_episodes: bool = False
) -> KeyframeStore:
    """The store, after a check that every frame of its records shows a point inside the bounds.

    Args:
        store: what a run reads.
        scene_bounds: the key of that name, metres, world frame.
        skip_bad_episodes: return the store without the episodes that fail, and name them.

    Raises:
        StoreError: a frame has no such point; in all episodes of a task, or without
            `skip_bad_episodes`.
    """
    left_out = set()
    for row, part in enumerate(store.task_stores):
        used = set(store.table["episode"][store.task_index == row].tolist())
        outside = [label for label in frames_outside(part, scene_bounds) if label[0] in used]
        bad = {episode for episode, _ in outside}
        if bad and (bad == used or not skip_bad_episodes):
            raise StoreError(_message(part, outside, scene_bounds))
        for episode in sorted(bad):
            frames = [frame for number, frame in outside if number == episode]
            logger.warning(
                "%s: episode %d was left out: frames %s have no point inside scene_bounds %s",
                part.task,
                episode,
                frames,
                list(scene_bounds),
            )
            left_out.add((part.task, episode))
    return store.without(left_out) if left_out else store


def frames_outside(store: TaskStore, scene_bounds: Sequence[float]) -> list[tuple[int, int]]:
    """(episode, frame) of all stored frames without a point inside; remembered with the store."""
    path = store.folder / MEMORY_FILE
    digest = hashlib.sha256(json.dumps(store.index).encode()).hexdigest()
    key = json.dumps([float(value) for value in scene_bounds])
    known = _remembered(path, digest)
    if key not in known:
        rows = frames_without_points(
            store.images[1::2], _calibration(store), SceneBounds.from_sequence(scene_bounds)
        )
        labels = _frame_labels(store)
        known[key] = [list(labels[row]) for row in rows.tolist()]
        _remember(path, digest, known)
    return [(episode, frame) for episode, frame in known[key]]


def _calibration(store: TaskStore) -> CameraArrays:
    return CameraArrays(*(store.arrays[name] for name in CALIBRATION))


def _frame_labels(store: TaskStore) -> list[tuple[int, int]]:
    """(episode, frame) of every row of the store."""
    entries = store.index["episodes"]
    return [(entry["episode"], frame) for entry in entries for frame in entry["frames"]]


def _remembered(path: Path, digest: str) -> dict[str, list[list[int]]]:
    """Bounds -> frames outside, of earlier checks of the same store; empty if there are none."""
    try:
        content = json.loads(path.read_text())
        return content["outside"] if content["store"] == digest else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _remember(path: Path, digest: str, known: dict[str, list[list[int]]]) -> None:
    """Saves the checks; a folder that cannot be written costs another check next time."""
    building = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        building.write_text(json.dumps({"store": digest, "outside": known}))
        building.replace(path)
    except OSError as error:
        logger.info("%s: not saved (%s)", path, error)


def _message(store: TaskStore, outside: list[tuple[int, int]], bounds: Sequence[float]) -> str:
    """What is outside, where its points are instead, and what can be done."""
    episode, frame = outside[0]
    row = _frame_labels(store).index((episode, frame))
    calibration = CameraArrays(*(part[[row]] for part in _calibration(store)))
    points = _cloud(store.images[[2 * row + 1]], calibration)[0]
    points = points[points.isfinite().all(-1)]
    where = "none of its points is finite"
    if len(points):
        corners = [[round(x, 2) for x in c.tolist()] for c in (points.amin(0), points.amax(0))]
        where = f"its points lie between {corners[0]} and {corners[1]}"
    others = f" (and {len(outside) - 1} more frames)" if len(outside) > 1 else ""
    return (
        f"{store.task}: episode {episode}, frame {frame}{others} has no point inside scene_bounds "
        f"{list(bounds)}; {where}. Set scene_bounds to the workspace of these demos in metres, "
        "record demos with a wrong calibration again, or leave such episodes out with "
        "--skip-bad-episodes if others remain"
    )
