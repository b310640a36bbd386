"""Paired differences, their intervals and tests, with figures worked out by hand."""

from __future__ import annotations

import pytest

from sam2act.evaluation.analysis.paired import Pairs, count_pairs, holm, pair_keys
from tests.evaluation.evaluated_runs import episode, episodes


def test_pairs_are_equal_scenes_of_equal_trainings() -> None:
    first = pair_keys(0, episodes("1101")) | pair_keys(1, episodes("11"))
    second = pair_keys(0, episodes("1000")) | pair_keys(2, episodes("00"))
    assert count_pairs(first, second) == Pairs(1, 2, 0, 1)
    assert count_pairs(second, first) == Pairs(1, 0, 2, 1)
    assert count_pairs(first, pair_keys(3, episodes("1"))) is None
    other_scene = pair_keys(0, episodes("1", seed=8000))
    assert count_pairs(first, other_scene) is None
    lost = pair_keys(0, [episode("put_block_back", 0, 0, variation=-1)])
    assert lost == {}


def test_difference_interval_and_exact_test() -> None:
    pairs = Pairs(both=10, first_only=8, second_only=1, neither=6)
    assert pairs.count == 25 and pairs.difference == pytest.approx(7 / 25)
    assert pairs.p_value == pytest.approx(2 * (1 + 9) / 2**9)
    # (8 + 1) / 27 - (1 + 1) / 27, plus or minus 1.96 sqrt((11 / 27 - (7 / 27)^2) / 27)
    assert pairs.interval == pytest.approx((0.0393, 0.4792), abs=1e-4)
    reverse = Pairs(10, 1, 8, 6)
    assert reverse.p_value == pairs.p_value
    assert reverse.interval == pytest.approx((-pairs.interval[1], -pairs.interval[0]))


def test_no_difference_is_never_significant() -> None:
    assert Pairs(5, 0, 0, 5).p_value == 1 and Pairs(5, 3, 3, 5).p_value == 1
    low, high = Pairs(5, 0, 0, 5).interval
    assert low < 0 < high


def test_adjusted_p_values_keep_their_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
