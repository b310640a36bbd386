"""Two methods on equal scenes: the paired difference of their success, and whether it is chance.

An episode of one method and one of the other form a pair if training seed and scene agree. Pairs
are taken as independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sam2act.evaluation.analysis.aggregate import NORMAL_QUANTILE
from sam2act.evaluation.results import NEVER_BEGUN, EpisodeRow

SIGNIFICANT = 0.05
PairKey = tuple[Any, ...]  # training seed, task, episode, variation, seed of the scene


@dataclass(frozen=True)
class Pairs:
    """How many pairs ended in which way.

    Attributes:
        both: both methods succeeded.
        first_only: the first one alone.
        second_only: the second one alone.
        neither: both failed.
    """

    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def count(self) -> int:
        """All pairs."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def difference(self) -> float:
        """Success of the first method minus that of the second; needs a pair."""
        return (self.first_only - self.second_only) / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference (adjusted Wald, Bonett & Price 2012)."""
        first, second = (
            (count + 1) / (self.count + 2) for count in (self.first_only, self.second_only)
        )
        center = first - second
        half = NORMAL_QUANTILE * math.sqrt((first + second - center**2) / (self.count + 2))
        return max(-1.0, center - half), min(1.0, center + half)

    @property
    def p_value(self) -> float:
        """Of the exact two-sided test that both methods are equally good (McNemar)."""
        unequal = self.first_only + self.second_only
        tail = sum(math.comb(unequal, k) for k in range(min(self.first_only, self.second_only) + 1))
        return min(1.0, float(2 * tail / 2**unequal))


def pair_keys(training_seed: int, rows: Iterable[EpisodeRow]) -> dict[PairKey, EpisodeRow]:
    """The episodes that began by what an equal one of another method has, too."""
    return {
        (training_seed, row.task, row.episode, row.variation, row.seed): row
        for row in rows
        if row.variation != NEVER_BEGUN
    }


def count_pairs(
    first: Mapping[PairKey, EpisodeRow], second: Mapping[PairKey, EpisodeRow]
) -> Pairs | None:
    """The pairs of two methods; None if they met no equal scene."""
    common = [key for key in first if key in second]
    if not common:
        return None
    ends = [(bool(first[key].success), bool(second[key].success)) for key in common]
    return Pairs(
        both=ends.count((True, True)),
        first_only=ends.count((True, False)),
        second_only=ends.count((False, True)),
        neither=ends.count((False, False)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for being the smallest of several tests (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return adjusted
