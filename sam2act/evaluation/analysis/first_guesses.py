"""Where the policy goes first after the first part: the decision that needs the past, by itself.

An episode of 25 steps leaves a policy time to try one place after the other, so success alone does
not tell memory from persistence. Each task that needs memory has one decision that depends on what
no camera shows any more, and it comes after a first part. Its places move with the scene by
centimetres at most, so it can be read from the keyframe poses that the policy asked for:

* the first part ends with the button of MemoryBench, pressed by the first target over its field
  that is low enough, or, in push_same_button, over the mat after a press;
* the first guess is the first later target within reach of one of the places;
* it is right if the place is that of the episode's variation.

What a target led to plays no part: a policy that decides rightly and then drops the block has
guessed right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sam2act.evaluation.analysis.aggregate import tasks_of
from sam2act.evaluation.results import EpisodeRow

# Targets on the button, metres in the world frame: over its field, which is the same in all three
# tasks but for some centimetres, and below this height. The tip presses at 0.77.
BUTTON_FIELD_ENDS = -0.10  # greatest y
PRESS_HEIGHT = 0.80
_ANY = np.inf


@dataclass(frozen=True)
class Region:
    """A box of targets, its faces not part of it: two corners (3,) in metres, world frame."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def holds(self, target: np.ndarray) -> bool:
        """Whether the position `target` (3,) lies in it."""
        return bool((target > self.low).all() and (target < self.high).all())


_ON_THE_BUTTON = Region((-_ANY, -_ANY, -_ANY), (_ANY, BUTTON_FIELD_ENDS, PRESS_HEIGHT))
_PRESSES = Region((-_ANY, -_ANY, -_ANY), (_ANY, _ANY, PRESS_HEIGHT))
_OVER_THE_MAT = Region((-_ANY, -0.12, PRESS_HEIGHT), (0.22, 0.12, _ANY))


@dataclass(frozen=True)
class Decision:
    """What only the past tells, in one task.

    Attributes:
        keyframe: of a demonstration, counted from 0, whose target shows the decision first.
        places: target of that keyframe by variation, (x, y, z) metres, world frame.
        reach: greatest distance from a place along each axis, metres.
        after: where targets lead, one after the other, in the first part; guesses come later.
    """

    keyframe: int
    places: tuple[tuple[float, float, float], ...]
    reach: tuple[float, float, float]
    after: tuple[Region, ...] = (_ON_THE_BUTTON,)

    def place_of(self, target: np.ndarray) -> int | None:
        """The place that the position `target` (3,) is at, None if it is at none of them."""
        distances = np.abs(np.asarray(self.places) - target)
        (found,) = np.nonzero((distances <= self.reach).all(axis=1))
        return int(found[0]) if found.size else None


# Patches are 10 cm wide. Handles of the chest are 8.4 cm apart, one above the other.
_ABOVE_A_PATCH = (0.07, 0.07, _ANY)
DECISIONS: Mapping[str, Decision] = {
    "put_block_back": Decision(
        10,
        ((0.275, 0.35, 0.948), (0.456, 0.176, 0.948), (0.275, 0.0, 0.948), (0.075, 0.175, 0.948)),
        _ABOVE_A_PATCH,
    ),
    "rearrange_block": Decision(6, ((0.275, 0.35, 0.948), (0.281, 0.001, 0.948)), _ABOVE_A_PATCH),
    "reopen_drawer": Decision(
        6,
        ((0.257, 0.055, 0.866), (0.257, 0.055, 0.950), (0.257, 0.055, 1.034)),
        (0.08, 0.08, 0.0419),
    ),
    # Buttons are as wide as patches.
    "push_same_button": Decision(
        3,
        ((0.27, 0.23, 0.90), (0.37, 0.0, 0.90), (0.27, -0.23, 0.90)),
        _ABOVE_A_PATCH,
        (_PRESSES, _OVER_THE_MAT),
    ),
}


@dataclass(frozen=True)
class Guesses:
    """First guesses of some episodes of a task.

    Attributes:
        right: episodes whose first guess is right.
        made: episodes with a guess, right or not.
        episodes: all whose targets are known.
    """

    right: int
    made: int
    episodes: int

    @property
    def rate(self) -> float:
        """Share of right ones; an episode without a guess is not right."""
        return self.right / self.episodes


def first_guess(task: str, targets: np.ndarray) -> int | None:
    """The variation for whose place the policy went first after the first part; None if it never
    did.

    Args:
        task: one of `DECISIONS`.
        targets: (T, 3 or more); positions that were asked for, metres, world frame.
    """
    decision = DECISIONS[task]
    awaited = list(decision.after)
    for target in targets[:, :3]:
        if awaited:
            if awaited[0].holds(target):
                del awaited[0]
            continue
        place = decision.place_of(target)
        if place is not None:
            return place
    return None


def count_guesses(
    rows: Sequence[EpisodeRow], targets: Mapping[tuple[str, int], np.ndarray]
) -> dict[str, Guesses]:
    """First guesses by task, without tasks that have no such decision or no known targets.

    Args:
        rows: the episodes.
        targets: by task and number of the episode, see `read_targets`.
    """
    counts = {}
    for task in tasks_of([rows]):
        known = [row for row in rows if row.task == task and row.key in targets]
        if task in DECISIONS and known:
            guesses = [first_guess(task, targets[row.key]) for row in known]
            right = sum(guess == row.variation for guess, row in zip(guesses, known, strict=True))
            made = sum(guess is not None for guess in guesses)
            counts[task] = Guesses(right, made, len(known))
    return counts


def pooled(counts: Sequence[Guesses]) -> Guesses | None:
    """All of `counts` together, None if there are none."""
    if not counts:
        return None
    return Guesses(
        sum(count.right for count in counts),
        sum(count.made for count in counts),
        sum(count.episodes for count in counts),
    )
