"""Rapidly exploring random trees that grow towards each other (Kuffner and LaValle, 2000)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_STEP = 0.2  # radians
_ITERATIONS = 1500
_SHORTCUTS = 60
_GOAL_SHARE, _ANYWHERE_SHARE = 0.1, 0.3  # of the samples; the others lie between start and goal
_WIDENING = 0.6  # radians around the box between start and goal

EdgeTest = Callable[[np.ndarray, np.ndarray], bool]


class _Tree:
    """Postures with the way back to the root."""

    def __init__(self, root: np.ndarray) -> None:
        self.nodes = [root]
        self._parents = [-1]

    def extend(self, target: np.ndarray, is_free: EdgeTest) -> tuple[int, bool] | None:
        """Grow one step towards `target`: the new node and whether it is there; None if blocked."""
        offsets = target - np.array(self.nodes)
        nearest = int((offsets**2).sum(axis=1).argmin())
        length = float(np.linalg.norm(offsets[nearest]))
        arrives = length <= _STEP
        node = target if arrives else self.nodes[nearest] + offsets[nearest] * (_STEP / length)
        if not is_free(self.nodes[nearest], node):
            return None
        self.nodes.append(node)
        self._parents.append(nearest)
        return len(self.nodes) - 1, arrives

    def connect(self, target: np.ndarray, is_free: EdgeTest) -> int | None:
        """Grow until `target` is reached, and its node, or None where something is in the way."""
        while (grown := self.extend(target, is_free)) is not None:
            if grown[1]:
                return grown[0]
        return None

    def branch(self, node: int) -> list[np.ndarray]:
        """From `node` to the root."""
        postures = []
        while node >= 0:
            postures.append(self.nodes[node])
            node = self._parents[node]
        return postures


def connect(
    start: np.ndarray,
    goal: np.ndarray,
    limits: np.ndarray,
    is_free: EdgeTest,
    random: np.random.Generator,
) -> np.ndarray | None:
    """A free path (N, J) from `start` to `goal`, None if none was found.

    Stops after a fixed number of iterations, never after a time: results must not depend on how
    fast the machine is.

    Args:
        start: (J,) radians.
        goal: (J,) radians.
        limits: (J, 2) lowest and highest angles.
        is_free: whether the straight way between two postures is free.
        random: source of samples.
    """
    trees = (_Tree(start), _Tree(goal))
    for iteration in range(_ITERATIONS):
        growing, other = trees if iteration % 2 == 0 else trees[::-1]
        grown = growing.extend(_sample(start, goal, other.nodes[0], limits, random), is_free)
        if grown is None:
            continue
        meeting = other.connect(growing.nodes[grown[0]], is_free)
        if meeting is None:
            continue
        first, second = growing.branch(grown[0])[::-1], other.branch(meeting)[1:]
        path = first + second if growing is trees[0] else (first + second)[::-1]
        return np.array(_shorten(path, is_free, random))
    return None


def _sample(
    start: np.ndarray,
    goal: np.ndarray,
    root: np.ndarray,
    limits: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    kind = random.random()
    if kind < _GOAL_SHARE:
        return root
    if kind < _GOAL_SHARE + _ANYWHERE_SHARE:
        return random.uniform(limits[:, 0], limits[:, 1])
    low, high = np.minimum(start, goal) - _WIDENING, np.maximum(start, goal) + _WIDENING
    return random.uniform(np.maximum(low, limits[:, 0]), np.minimum(high, limits[:, 1]))


def _shorten(
    path: list[np.ndarray], is_free: EdgeTest, random: np.random.Generator
) -> list[np.ndarray]:
    """`path` with detours cut wherever the direct way is free."""
    for _ in range(_SHORTCUTS):
        if len(path) < 3:
            break
        first, last = sorted(random.choice(len(path), 2, replace=False).tolist())
        if last > first + 1 and is_free(path[first], path[last]):
            path = path[: first + 1] + path[last:]
    return path
