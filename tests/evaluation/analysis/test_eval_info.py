"""The results in the form of LeRobot's evaluation, from results made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sam2act.evaluation.analysis.eval_info import EVAL_INFO_FILE, eval_info, write_eval_info
from tests.evaluation.evaluated_runs import episode, episodes

RATES = {"avg_sum_reward", "avg_max_reward", "pc_success"}


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    rows = [*episodes("110"), *episodes("0", "rearrange_block")]
    write_eval_info(tmp_path, rows)
    info = json.loads((tmp_path / EVAL_INFO_FILE).read_text())
    assert set(info) == {"per_episode", "aggregated", "per_task", "per_group", "overall"}
    assert info["per_episode"][1] == {
        "episode_ix": 1,
        "sum_reward": 1.0,
        "max_reward": 1.0,
        "success": True,
        "seed": 7000001,
    }
    assert set(info["aggregated"]) == RATES | {"eval_s", "eval_ep_s"}
    assert info["aggregated"]["pc_success"] == 50 and info["aggregated"]["avg_max_reward"] == 0.5
    assert info["overall"].items() >= info["aggregated"].items()
    assert info["overall"]["n_episodes"] == 4
    first, second = info["per_task"]
    assert (first["task_group"], second["task_group"]) == ("put_block_back", "rearrange_block")
    assert first["metrics"]["successes"] == [True, True, False]
    assert second["metrics"]["sum_rewards"] == [0.0]
    assert info["per_group"]["put_block_back"]["pc_success"] == pytest.approx(200 / 3)


def test_times_and_films() -> None:
    rows = [
        episode("put_block_back", 0, 1, seconds=2.0, video="videos/a.mp4"),
        episode("put_block_back", 1, 0, seconds=4.0),
    ]
    info = eval_info(rows, Path("/results"))
    assert info["overall"]["eval_s"] == 6 and info["overall"]["eval_ep_s"] == 3
    assert info["overall"]["video_paths"] == ["/results/videos/a.mp4"]


def test_sums_of_graded_rewards_are_not_invented() -> None:
    rows = [episode("put_block_back", 0, 1), episode("put_block_back", 1, 0, reward=40.0)]
    info = eval_info(rows)
    assert [row["sum_reward"] for row in info["per_episode"]] == [1.0, None]
    assert info["overall"]["avg_sum_reward"] is None and info["overall"]["pc_success"] == 50
