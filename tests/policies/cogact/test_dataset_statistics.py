"""`dataset_statistics.json`: published numbers, round trip, choice of the data set, bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.core.errors import ConfigError
from sam2act.policies.cogact.dataset_statistics import (
    FILE_NAME,
    action_entry,
    bounded,
    fit_statistics,
    normalised,
    read_statistics,
    unnormalised,
    write_statistics,
)
from tests.golden_files import GoldenFile, golden

ACTIONS = np.random.default_rng(0).normal(size=(200, 7)) * 0.1
MASK = [True] * 6 + [False]


def bridge() -> dict[str, Any]:
    return {"bridge_orig": fit_statistics(ACTIONS, MASK, trajectories=4)}


@golden("related_dit_action.npz")
def test_actions_get_their_units_as_published(golden_file: GoldenFile) -> None:
    stored = golden_file.arrays()
    entry = {name: stored[f"unnorm_{name}"] for name in ("q01", "q99", "mask")}
    actions = unnormalised(bounded(stored["unnorm_in"]), entry)
    np.testing.assert_allclose(actions, stored["unnorm_out"], rtol=0, atol=1e-12)


def test_a_file_is_read_as_it_was_written_with_entries_of_others(tmp_path: Path) -> None:
    statistics = bridge()
    statistics["bridge_orig"]["proprio"] = {"mean": [1.0]}
    write_statistics(tmp_path / FILE_NAME, statistics)
    assert read_statistics(tmp_path / FILE_NAME) == statistics
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_statistics_are_those_of_the_actions() -> None:
    entry = bridge()["bridge_orig"]
    assert (entry["num_transitions"], entry["num_trajectories"]) == (200, 4)
    action = entry["action"]
    assert action["q01"][2] == np.quantile(ACTIONS[:, 2], 0.01)
    assert action["max"] == ACTIONS.max(0).tolist() and action["mask"] == MASK


def test_scaling_is_undone_between_the_quantiles() -> None:
    action = bridge()["bridge_orig"]["action"]
    scaled = normalised(ACTIONS, action)
    assert np.abs(scaled[:, :6]).max() == 1
    assert (scaled[:, 6] == ACTIONS[:, 6]).all()
    inside = np.abs(scaled) < 1
    np.testing.assert_allclose(unnormalised(scaled, action)[inside], ACTIONS[inside], atol=1e-12)


def test_a_number_that_never_changes_comes_back() -> None:
    still = np.tile(np.arange(7.0), (5, 1))
    action = fit_statistics(still, [True] * 7, trajectories=1)["action"]
    assert (unnormalised(normalised(still, action), action) == still).all()


def test_without_a_mask_every_number_is_scaled() -> None:
    entry = {"q01": [0.0, 0.0], "q99": [2.0, 4.0]}
    assert unnormalised(np.array([[0.0, 1.0]]), entry).tolist() == [[1.0, 4.0]]


@pytest.mark.parametrize(("opening", "expected"), [(0.49, 0), (0.5, 1), (-3.0, 0), (7.0, 1)])
def test_the_gripper_is_open_or_closed_and_the_rest_is_clipped(
    opening: float, expected: int
) -> None:
    action = np.array([1.5, -2, 0.2, 0, 0, 0, opening])
    assert bounded(action).tolist() == [1, -1, 0.2, 0, 0, 0, expected]
    assert action[0] == 1.5, "the prediction itself stays"
    assert bounded(action, gripper_dim=None)[6] == np.clip(opening, -1, 1)


def test_the_key_may_be_left_out_if_there_is_one_data_set() -> None:
    one = bridge()
    assert action_entry(one, None) is one["bridge_orig"]["action"]
    two = {**one, "fractal": one["bridge_orig"]}
    assert action_entry(two, "fractal") is one["bridge_orig"]["action"]
    with pytest.raises(ConfigError, match="2 data sets.*: bridge_orig, fractal"):
        action_entry(two, None)
    with pytest.raises(ConfigError, match="'kitchen' is unknown; the model knows bridge_orig"):
        action_entry(one, "kitchen")


def broken(**changes: Any) -> dict[str, Any]:
    statistics = bridge()
    statistics["bridge_orig"]["action"].update(changes)
    return statistics


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no readable JSON"),
        ("[]", r"expected \{data set: statistics\}, got list"),
        (json.dumps({"a": {}}), "a: expected an entry `action`"),
        (json.dumps({"a": {"action": {"q01": [0]}}}), "q99 is missing"),
        (json.dumps(broken(q99=[1.0])), "q99: expected 7 numbers"),
        (json.dumps(broken(q01="low")), "q01: expected some numbers"),
        (json.dumps(broken(mean=[float("nan")] * 7)), "mean: nan is no finite number"),
        (json.dumps(broken(mask=[1] * 7)), "mask: expected 7 of true and false"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_statistics(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_refusals_of_absent_files_actions_and_robots(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; it belongs to the checkpoint"):
        read_statistics(tmp_path / FILE_NAME)
    with pytest.raises(ConfigError, match="expected finite"):
        fit_statistics(np.zeros((0, 7)), MASK, 1)
    with pytest.raises(ConfigError, match="6 entries for actions of 7"):
        fit_statistics(ACTIONS, MASK[1:], 1)
    with pytest.raises(ConfigError, match="statistics of 7 numbers, but actions have 5"):
        unnormalised(np.zeros((2, 5)), bridge()["bridge_orig"]["action"])
