"""First guesses: of trajectories made by hand, and of the scripts of the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sam2act.core.tasks import CHANCE
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.tasks.push_same_button import VARIES
from sam2act.evaluation.analysis.first_guesses import (
    DECISIONS,
    Guesses,
    count_guesses,
    first_guess,
    pooled,
)
from tests.evaluation.evaluated_runs import episode

PRESS = (0.1, -0.3, 0.775)
# The keyframe that ends the first part: pressing the button, or over the mat.
ENDS = {"put_block_back": 6, "rearrange_block": 5, "reopen_drawer": 5, "push_same_button": 2}


def guess(task: str, *positions: Sequence[float] | np.ndarray) -> int | None:
    return first_guess(task, np.array(positions))


@pytest.mark.parametrize("task", DECISIONS)
def test_places_are_as_many_as_chance_says_and_lie_apart(task: str) -> None:
    places = np.array(DECISIONS[task].places)
    assert len(places) == round(1 / CHANCE[task])
    for number, place in enumerate(places):
        assert DECISIONS[task].place_of(place) == number
        others = np.abs(np.delete(places, number, 0) - place)
        assert (others > 2 * np.array(DECISIONS[task].reach)).any(axis=1).all(), "they overlap"


@pytest.mark.parametrize("task", DECISIONS)
def test_scripts_press_once_and_then_go_to_the_place_of_their_variation(task: str) -> None:
    decision = DECISIONS[task]
    runner = EpisodeRunner(EnvConfig(task=task, image_size=16))
    for variation in range(runner.variation_count()):
        runner.begin_episode(variation, seed=variation)
        script = [point.pose[:3] for point in runner.task.waypoints(runner.scene)]
        place = script[decision.keyframe]
        varies = VARIES if task == "push_same_button" else 0
        assert np.abs(place - decision.places[variation]).max() < 2e-3 + varies
        before = script[: decision.keyframe]
        assert guess(task, *script) == guess(task, *before, place) == variation
        for number in range(len(before)):
            ends_it = guess(task, *before[: number + 1], place) is not None
            assert ends_it == (number >= ENDS[task]), number


def test_what_comes_before_the_button_is_no_guess() -> None:
    before = (0.275, 0.35, 0.80)  # the block is fetched from patch 1
    assert guess("put_block_back", before) is None
    assert guess("put_block_back", before, PRESS) is None
    assert guess("put_block_back", before, PRESS, (0.46, 0.17, 0.95), before) == 1


def test_hovering_above_the_button_presses_nothing() -> None:
    hover, patch = (0.1, -0.3, 0.91), (0.275, 0.35, 0.95)
    assert guess("put_block_back", hover, patch) is None
    assert guess("put_block_back", hover, patch, PRESS, (0.07, 0.18, 0.9)) == 3


def test_a_button_counts_only_after_a_press_and_the_mat() -> None:
    task, right, left, mat = "push_same_button", (0.27, -0.2, 0.9), (0.3, 0.25, 0.78), (0.1, 0, 0.9)
    assert guess(task, right, mat, right) is None, "nothing was pressed before the mat"
    assert guess(task, left, right, left) is None, "never over the mat"
    assert guess(task, left, mat, right, left) == 2
    assert guess(task, left, (0.15, 0.05, 0.85), mat, left) == 0
    assert guess(task, left, mat, mat, (0.2, 0.0, 1.2)) is None


def test_the_first_place_counts_whatever_follows() -> None:
    centre, third, first = (0.275, 0.177, 0.95), (0.29, -0.02, 0.8), (0.275, 0.35, 0.95)
    assert guess("put_block_back", PRESS, centre, centre, third, first, first) == 2
    assert guess("rearrange_block", PRESS, centre, third, first) == 1
    assert guess("rearrange_block", PRESS, centre, first) == 0


def test_a_place_is_missed_by_more_than_its_reach() -> None:
    assert guess("put_block_back", PRESS, (0.275 + 0.069, 0.35 - 0.069, 1.3)) == 0
    assert guess("put_block_back", PRESS, (0.275 + 0.071, 0.35, 0.95)) is None


def test_drawers_are_told_apart_by_height_and_only_near_the_chest() -> None:
    heights = {0.84: 0, 0.905: 0, 0.91: 1, 0.99: 1, 0.995: 2, 1.05: 2, 1.08: None, 0.8: None}
    found = {z: guess("reopen_drawer", PRESS, (0.26, 0.06, z)) for z in heights}
    assert found == heights
    above_the_button, home = (0.2, -0.3, 0.915), (0.278, -0.008, 1.473)
    assert guess("reopen_drawer", PRESS, above_the_button, home) is None


def test_counts_leave_out_what_is_not_known() -> None:
    rows = [episode("put_block_back", number, 1) for number in range(4)]
    right, wrong = np.array([PRESS, (0.275, 0.35, 0.9)]), np.array([PRESS, (0.275, 0.0, 0.9)])
    targets = {rows[0].key: right, rows[1].key: wrong, rows[2].key: np.empty((0, 9))}
    counts = count_guesses([*rows, episode("open_drawer", 0, 1)], targets)
    assert counts == {"put_block_back": Guesses(right=1, made=2, episodes=3)}
    assert count_guesses(rows, {}) == {}
    both = pooled([counts["put_block_back"], Guesses(3, 3, 3)])
    assert both == Guesses(4, 5, 6) and both.rate == pytest.approx(2 / 3)
    assert pooled([]) is None
