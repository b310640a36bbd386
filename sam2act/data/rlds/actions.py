"""Actions of RLDS episodes as seven numbers: translation, roll-pitch-yaw, opening of the gripper.

Legend: T steps of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam2act.data.source import SourceError

SIZE = 7
MOTION = ("world_vector", "rotation_delta")  # of actions with parts, as of fractal20220817_data
CLOSING, OPEN = "gripper_closedness_action", "open_gripper"
STILL = 0.1  # commands to a gripper up to this size change nothing


def seven_numbers(actions: Sequence[Any], place: str) -> np.ndarray:
    """(T, 7) float32 of the actions of an episode: rows of seven numbers, or mappings of parts.

    Args:
        actions: T as they were recorded.
        place: for messages.

    Raises:
        SourceError: they have another form.
    """
    first = actions[0]
    if isinstance(first, Mapping):
        return _joined(actions, place)
    rows = np.asarray(actions, np.float32)
    if rows.shape != (len(actions), SIZE):
        raise SourceError(
            f"{place}: actions have the shape {rows.shape[1:]}, expected {SIZE} numbers "
            "(translation, roll-pitch-yaw, 1 = open); convert the data set to that form"
        )
    return rows


def _joined(actions: Sequence[Mapping[str, Any]], place: str) -> np.ndarray:
    known = actions[0].keys()
    gripper = next((name for name in (OPEN, CLOSING) if name in known), None)
    absent = [name for name in MOTION if name not in known]
    if absent or gripper is None:
        wanted = absent[0] if absent else f"{OPEN} or {CLOSING}"
        raise SourceError(
            f"{place}: actions lack {wanted} (there are {', '.join(sorted(known))}); convert the "
            f"data set to actions of {SIZE} numbers"
        )
    columns = [
        np.stack([np.asarray(action[name], np.float32).reshape(-1) for action in actions])
        for name in (*MOTION, gripper)
    ]
    if gripper == CLOSING:
        columns[-1] = openings(columns[-1][:, 0])[:, None]
    rows = np.concatenate(columns, axis=1)
    if rows.shape[1] != SIZE:
        raise SourceError(f"{place}: actions have {rows.shape[1]} numbers, expected {SIZE}")
    return rows


def openings(closing: np.ndarray) -> np.ndarray:
    """(T,) opening, 1 = open, that commands (T,) leave a gripper with: above 0 closes it, below
    opens it, near 0 leaves it. Before the first command it is as that one finds it."""
    changes = np.where(closing > STILL, 0.0, np.where(closing < -STILL, 1.0, np.nan))
    told = np.flatnonzero(~np.isnan(changes))
    if not len(told):
        return np.ones(len(closing), np.float32)
    latest = np.searchsorted(told, np.arange(len(closing)), side="right") - 1
    state = np.where(latest < 0, 1 - changes[told[0]], changes[told[np.maximum(latest, 0)]])
    return state.astype(np.float32)
