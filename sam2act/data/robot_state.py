"""The state that policies get, of many recorded frames at once.

Legend: T frames, P numbers of the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sam2act.core.actions import Component
from sam2act.core.specs import TIME
from sam2act.core.types import time_feature


def state_rows(
    parts: Sequence[Component], numbers: Mapping[str, np.ndarray], steps: np.ndarray, length: int
) -> np.ndarray:
    """The state of T frames, clipped to the ranges of its parts as while acting.

    Args:
        parts: what a policy wants, in this order; `TIME` is made from the steps.
        numbers: name of a part -> (T, size).
        steps: (T,) actions executed since the start of the episode.
        length: steps that the time feature spans.

    Returns:
        (T, P) float32.
    """
    columns = [np.zeros((len(steps), 0))]
    for part in parts:
        if part == TIME:
            columns.append(time_feature(np.asarray(steps), length)[:, None])
            continue
        values = np.asarray(numbers[part.name], np.float64).reshape(len(steps), part.size)
        ranged = part.low is not None or part.high is not None
        columns.append(np.clip(values, part.low, part.high) if ranged else values)
    return np.concatenate(columns, axis=1).astype(np.float32)
