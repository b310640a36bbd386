"""The results of an evaluation as LeRobot's evaluation writes them: `eval_info.json`.

Both of its forms stand in one file: `per_episode` and `aggregated` of one environment, and
`per_task`, `per_group` and `overall` of several. A task is a group of its own. Rewards are between
0 and 1. Only the last reward of an episode is stored; where rewards are graded, sum and maximum
over the episode are unknown and stand as null.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam2act.evaluation.analysis.aggregate import tasks_of
from sam2act.evaluation.results import FULL_REWARD, EpisodeRow, write_text

EVAL_INFO_FILE = "eval_info.json"


def eval_info(rows: Sequence[EpisodeRow], folder: Path = Path()) -> dict[str, Any]:
    """The content of the file.

    Args:
        rows: finished episodes, at least one.
        folder: of the results, around the films.
    """
    groups = {task: [row for row in rows if row.task == task] for task in tasks_of([rows])}
    overall = _aggregated(rows)
    films = _films(rows, folder)
    return {
        "per_episode": [_episode(number, row) for number, row in enumerate(rows)],
        "aggregated": overall,
        "per_task": [
            {"task_group": task, "task_id": 0, "metrics": _metrics(group, folder)}
            for task, group in groups.items()
        ],
        "per_group": {
            task: _rates(group) | {"n_episodes": len(group), "video_paths": _films(group, folder)}
            for task, group in groups.items()
        },
        "overall": overall | {"n_episodes": len(rows), "video_paths": films},
    }


def write_eval_info(folder: Path, rows: Sequence[EpisodeRow]) -> None:
    """Write the file to the folder of the results, atomically."""
    write_text(folder / EVAL_INFO_FILE, json.dumps(eval_info(rows, folder), indent=1) + "\n")


def _episode(number: int, row: EpisodeRow) -> dict[str, Any]:
    reward = _reward(row)
    return {
        "episode_ix": number,
        "sum_reward": reward,
        "max_reward": reward,
        "success": bool(row.success),
        "seed": row.seed,
    }


def _metrics(rows: Sequence[EpisodeRow], folder: Path) -> dict[str, Any]:
    rewards = [_reward(row) for row in rows]
    return {
        "sum_rewards": rewards,
        "max_rewards": rewards,
        "successes": [bool(row.success) for row in rows],
        "video_paths": _films(rows, folder),
    }


def _aggregated(rows: Sequence[EpisodeRow]) -> dict[str, Any]:
    """Rates, and the time of all episodes one after the other."""
    seconds = sum(row.seconds for row in rows)
    return _rates(rows) | {"eval_s": seconds, "eval_ep_s": seconds / len(rows)}


def _rates(rows: Sequence[EpisodeRow]) -> dict[str, Any]:
    rewards = [_reward(row) for row in rows]
    known = [reward for reward in rewards if reward is not None]
    mean = statistics.fmean(known) if len(known) == len(rows) else None
    return {
        "avg_sum_reward": mean,
        "avg_max_reward": mean,
        "pc_success": 100 * statistics.fmean(row.success for row in rows),
    }


def _reward(row: EpisodeRow) -> float | None:
    """Sum and maximum of the rewards: every step but the last one of a success gave 0."""
    return row.reward / FULL_REWARD if row.reward in (0.0, FULL_REWARD) else None


def _films(rows: Sequence[EpisodeRow], folder: Path) -> list[str]:
    return [str(folder / row.video) for row in rows if row.video]
