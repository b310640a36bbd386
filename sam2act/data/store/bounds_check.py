"""Which stored frames and cameras have something to show: usable points, points inside the bounds.

A frame without any point would train the policy on an empty picture, and a dead camera without
what it should show. Usable points are looked for once, when a store is built. Whether they lie
inside `scene_bounds` is checked before training and remembered beside the store, because the bounds
belong to the run.

Legend: F frame, K camera, H W image size.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sam2act.core.files import replacing
from sam2act.data.rlbench.demo_folders import LOW_DIM_FILE
from sam2act.data.rlbench.demo_images import image_path
from sam2act.data.rlbench.types import DemoError
from sam2act.data.source import CameraArrays
from sam2act.data.store.store import SomeStore
from sam2act.data.store.task_store import CALIBRATION, StoreError, TaskStore, frame_labels_of
from sam2act.geometry.cameras import measured_depth, unproject
from sam2act.geometry.scene_bounds import SceneBounds

logger = logging.getLogger(__name__)
MEMORY_FILE = "bounds_check.json"
# (pixel stride, pictures at a time): nearly every picture shows a point in the sparse pass.
_PASSES = ((8, 1024), (1, 32))


def seeing_cameras(
    depth_code: np.ndarray, calibration: CameraArrays, bounds: SceneBounds | None = None
) -> np.ndarray:
    """(F, K) bool: which cameras give a usable point in which frame.

    A point is usable if its depth was measured, it is finite, its camera's near plane lies before
    the far plane and, where bounds are given, it lies inside them.

    Args:
        depth_code: (F, K, H, W, 3) uint8, high byte first; may be memory-mapped.
        calibration: of these frames.
        bounds: the box that must hold a point, world frame, metres.
    """
    sees = np.zeros(depth_code.shape[:2], bool)
    for stride, chunk in _PASSES:
        sparse = depth_code[:, :, ::stride, ::stride]
        blind = np.argwhere(~sees)
        for start in range(0, len(blind), chunk):
            at = tuple(blind[start : start + chunk].T)
            points = _points(sparse[at], CameraArrays(*(c[at] for c in calibration)), stride)
            usable = points.isfinite().all(-1) if bounds is None else bounds.contains(points)
            sees[at] = usable.any(dim=1).numpy()
    return sees


def frames_without_points(
    depth_code: np.ndarray, calibration: CameraArrays, bounds: SceneBounds | None = None
) -> np.ndarray:
    """(M,) int64: the frames in which no camera gives a usable point; see `seeing_cameras`."""
    return np.flatnonzero(~seeing_cameras(depth_code, calibration, bounds).any(axis=1))


def _points(depth_code: np.ndarray, calibration: CameraArrays, stride: int = 1) -> Tensor:
    """(..., N, 3) points of every `stride`-th pixel; NaN without measurement or depth range."""
    near, far = torch.from_numpy(calibration.depth_range).unbind(-1)
    near = torch.where(near < far, near, torch.nan)
    depth = measured_depth(torch.from_numpy(depth_code), near, far)
    intrinsics = torch.from_numpy(calibration.intrinsics).clone()
    intrinsics[..., :2, :] /= stride  # pixel u of the sparse image is pixel u * stride
    points = unproject(depth, intrinsics, torch.from_numpy(calibration.extrinsics))
    return points.flatten(-3, -2)


def require_live_cameras(
    name: str, images: np.ndarray, cameras: Sequence[str], error: type[DemoError] = DemoError
) -> None:
    """Checks that no camera gave the same depth everywhere in all frames of an episode.

    Pictures without any contrast in some frames, and colours that are always black, are logged.

    Args:
        name: of the episode, with its folder.
        images: (F, 2, K, H, W, 3) uint8, colour and depth code.
        cameras: (K,) their names.
        error: what to raise.

    Raises:
        DemoError: a camera is dead.
    """
    pixels = images.reshape(*images.shape[:3], -1, 3)
    flat = (pixels == pixels[:, :, :, :1]).all((-2, -1))  # (F, 2, K)
    black = flat[:, 0] & (pixels[:, 0, :, 0] == 0).all(-1)
    for number, camera in enumerate(cameras):
        dead = int(flat[:, 1, number].sum())
        if dead == len(images):
            raise error(
                f"{name}: camera {camera} has the same depth in every pixel of each of the "
                f"{dead} frames that are used, so it saw nothing; record the episode again, leave "
                f"it out, or take {camera} out of the key cameras"
            )
        if dead:
            logger.warning(
                "%s: camera %s has the same depth in every pixel of %d of %d used frames",
                *(name, camera, dead, len(images)),
            )
        if black[:, number].all():
            logger.warning("%s: all colour pictures of camera %s are black", name, camera)


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
        f"{folder / LOW_DIM_FILE}: frame {frame} has an empty cloud: {depth} hold no measured "
        "depth; record the episode again or leave it out"
    )


class Unseen(NamedTuple):
    """What shows no point inside some bounds."""

    frames: list[tuple[int, int]]  # (episode, frame), no camera
    cameras: list[tuple[int, str]]  # (episode, camera), in no frame


def keep_points_inside(
    store: SomeStore, scene_bounds: Sequence[float], *, skip_bad_episodes: bool = False
) -> SomeStore:
    """The store, after a check that its frames and cameras show points inside the bounds.

    Every frame must show one by some camera, and every camera one in some frame of an episode.

    Args:
        store: what a run reads.
        scene_bounds: the key of that name, metres, world frame.
        skip_bad_episodes: return the store without the episodes that fail, and name them.

    Raises:
        StoreError: a frame or a camera has no such point; in all episodes of a task, or without
            `skip_bad_episodes`.
    """
    left_out = set()
    for row, part in enumerate(store.task_stores):
        used = set(store.episodes_of(row))
        found = unseen(part, scene_bounds)
        outside = [label for label in found.frames if label[0] in used]
        blind = [label for label in found.cameras if label[0] in used]
        bad = {episode for episode, _ in (*outside, *blind)}
        if bad and (bad == used or not skip_bad_episodes):
            bounds = f"scene_bounds {list(scene_bounds)}"
            if outside:
                raise StoreError(_frames_message(part, outside, bounds))
            raise StoreError(_cameras_message(part, blind, bounds))
        for episode in sorted(bad):
            logger.warning(
                "%s: episode %d was left out: frames %s and cameras %s have no point inside "
                "scene_bounds %s",
                part.task,
                episode,
                [frame for number, frame in outside if number == episode],
                [camera for number, camera in blind if number == episode],
                list(scene_bounds),
            )
            left_out.add((part.task, episode))
    return store.without(left_out) if left_out else store


def unseen(store: TaskStore, scene_bounds: Sequence[float]) -> Unseen:
    """What shows no point inside the bounds, of all episodes; remembered with the store."""
    path = store.folder / MEMORY_FILE
    digest = hashlib.sha256(json.dumps(store.index).encode()).hexdigest()
    key = json.dumps([float(value) for value in scene_bounds])
    known = _remembered(path, digest)
    if key not in known:
        sees = seeing_cameras(
            store.depth_code, _calibration(store), SceneBounds.from_sequence(scene_bounds)
        )
        labels = frame_labels_of(store.index)
        frames = [labels[row] for row in np.flatnonzero(~sees.any(axis=1)).tolist()]
        episode_of = np.array([episode for episode, _ in labels])
        cameras = [
            (episode, camera)
            for episode in dict.fromkeys(episode_of.tolist())
            for camera, some in zip(store.cameras, sees[episode_of == episode].any(0), strict=True)
            if not some
        ]
        known[key] = {"frames": frames, "cameras": cameras}
        _remember(path, digest, known)
    return Unseen(*([tuple(label) for label in known[key][name]] for name in Unseen._fields))


def _calibration(store: TaskStore) -> CameraArrays:
    return CameraArrays(*(store.arrays[name] for name in CALIBRATION))


def _remembered(path: Path, digest: str) -> dict[str, dict[str, list[Any]]]:
    """Bounds -> fields of `Unseen`, of earlier checks of the same store, if there are any."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["unseen"] if content["store"] == digest else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _remember(path: Path, digest: str, known: dict[str, dict[str, list[Any]]]) -> None:
    """Saves the checks; a folder that cannot be written costs another check next time."""
    try:
        with replacing(path, shared=True) as partial:
            partial.write_text(json.dumps({"store": digest, "unseen": known}), encoding="utf-8")
    except OSError as error:
        logger.info("%s: not saved (%s)", path, error)


_REMEDY = (
    "Set scene_bounds to the workspace of these demos in metres, record demos with a wrong "
    "calibration again, or leave such episodes out with --skip-bad-episodes if others remain"
)


def _frames_message(store: TaskStore, outside: list[tuple[int, int]], bounds: str) -> str:
    """Which frames are outside, where the points are instead, and what can be done."""
    episode, frame = outside[0]
    row = frame_labels_of(store.index).index((episode, frame))
    others = f" (and {len(outside) - 1} more frames)" if len(outside) > 1 else ""
    return (
        f"{store.task}: episode {episode}, frame {frame}{others} has no point inside {bounds}; "
        f"{_where(store, row, slice(None))}. {_REMEDY}"
    )


def _cameras_message(store: TaskStore, blind: list[tuple[int, str]], bounds: str) -> str:
    """The same for cameras that show nothing of an episode."""
    episode, camera = blind[0]
    row = [number for number, _ in frame_labels_of(store.index)].index(episode)
    others = f" (and {len(blind) - 1} more cases)" if len(blind) > 1 else ""
    number = store.cameras.index(camera)
    return (
        f"{store.task}: episode {episode}, camera {camera}{others} has no point inside {bounds} "
        f"in any frame; {_where(store, row, slice(number, number + 1))}. {_REMEDY}; a camera that "
        "looks elsewhere can be taken out of the key cameras"
    )


def _where(store: TaskStore, row: int, cameras: slice) -> str:
    """Between which corners the points of some cameras lie in a row of the store."""
    calibration = CameraArrays(*(part[row, cameras] for part in _calibration(store)))
    points = _points(np.array(store.depth_code[row, cameras]), calibration).flatten(0, 1)
    points = points[points.isfinite().all(-1)]
    if not len(points):
        return "nothing was measured"
    corners = [[round(x, 2) for x in c.tolist()] for c in (points.amin(0), points.amax(0))]
    return f"its points lie between {corners[0]} and {corners[1]}"
