"""Checks of opened stores: targets against the bounds, and what is odd but can be used.

Whether clouds lie inside the bounds is the matter of `bounds_check.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from sam2act.core.rules import advise, camera_advice
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import StoreError, TaskStore, frame_labels_of

logger = logging.getLogger(__name__)
FAR_OUTSIDE = 0.1  # share of the longest edge of the bounds


def keep_targets_inside(
    store: KeyframeStore, scene_bounds: Sequence[float], *, skip_bad_episodes: bool = False
) -> KeyframeStore:
    """The store, after a check that its target positions lie inside the bounds.

    A target a little outside is reported and kept: augmentation moves it onto the border, as
    published; without augmentation no view shows it.

    Args:
        store: what a run reads.
        scene_bounds: the key of that name, metres, world frame.
        skip_bad_episodes: return the store without the episodes that fail, and name them.

    Raises:
        StoreError: a target lies far outside; in all episodes of a task, or without
            `skip_bad_episodes`.
    """
    low, high = np.array(scene_bounds[:3]), np.array(scene_bounds[3:])
    position = store.table["pose"][:, :3].astype(np.float64)
    beyond = np.maximum(low - position, position - high).max(axis=1)  # (N,) metres
    far = beyond > FAR_OUTSIDE * (high - low).max()
    _report_border(store, np.flatnonzero((beyond > 0) & ~far), scene_bounds)
    left_out = set()
    for row, task in enumerate(store.tasks):
        of_task = store.task_index == row
        bad = np.unique(store.table["episode"][of_task & far]).tolist()
        used = np.unique(store.table["episode"][of_task]).tolist()
        if bad and (bad == used or not skip_bad_episodes):
            rows = np.flatnonzero(of_task & far)
            raise StoreError(
                f"{_target_name(store, int(rows[0]))} lies outside scene_bounds "
                f"{list(scene_bounds)}, like {len(_targets(store, rows)) - 1} more targets of "
                f"{task}. Set scene_bounds to the workspace of these demos in metres, record them "
                "in metres of the world frame, or leave such episodes out with "
                "--skip-bad-episodes if others remain"
            )
        for episode in bad:
            logger.warning(
                "%s: episode %d was left out: a target lies far outside scene_bounds %s",
                *(task, episode, list(scene_bounds)),
            )
            left_out.add((task, episode))
    return store.without(left_out) if left_out else store


def _report_border(store: KeyframeStore, rows: np.ndarray, bounds: Sequence[float]) -> None:
    if len(rows):
        logger.warning(
            "%s lies outside scene_bounds %s, like %d more targets: augmentation moves them onto "
            "the border, and without it no view shows them",
            *(_target_name(store, int(rows[0])), list(bounds), len(_targets(store, rows)) - 1),
        )


def _targets(store: KeyframeStore, rows: np.ndarray) -> np.ndarray:
    """The distinct (task, episode, frame) of the targets of records."""
    table = store.table[rows]
    return np.unique(
        np.stack([store.task_index[rows], table["episode"], table["target_frame"]], axis=1), axis=0
    )


def _target_name(store: KeyframeStore, row: int) -> str:
    record = store.table[row]
    position = [round(float(value), 3) for value in record["pose"][:3]]
    return (
        f"{store.tasks[store.task_index[row]]}: the target {position} of episode "
        f"{record['episode']}, frame {record['target_frame']}"
    )


def warn_of_oddities(store: KeyframeStore) -> None:
    """Logs, once per task, what suggests a mistake although the data can be used."""
    for row, part in enumerate(store.task_stores):
        _warn_of_principal_points(part)
        threshold = part.index["gripper_threshold"]
        states = store.table["gripper_open"][store.task_index == row]
        if threshold is not None and len(np.unique(states)) < 2:
            logger.warning(
                "%s: gripper_threshold %g: the gripper is %s at every target; does the threshold "
                "lie between the recorded states?",
                *(part.task, threshold, "open" if states.any() else "closed"),
            )


def _warn_of_principal_points(part: TaskStore) -> None:
    intrinsics = torch.from_numpy(part.arrays["intrinsics"])
    names = [f"episode {e}, frame {f}" for e, f in frame_labels_of(part.index)]
    for number, camera in enumerate(part.cameras):
        advise(
            camera_advice(intrinsics[:, number : number + 1], part.image_size),
            cameras=[camera],
            place=names.__getitem__,
            start=f"{part.task}: ",
        )
