"""The results of an evaluation as Diffusion Policy and UVA write them: `eval_log.json`.

`test/mean_score` is the mean over all episodes of the reward with which they ended, from 0 to 1; in
environments with graded rewards, such as PushT, that is the largest one of the episode. The reward
of a scene stands under `test/sim_max_reward_<seed>`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from sam2act.evaluation.results import FULL_REWARD, EpisodeRow, write_text

EVAL_LOG_FILE = "eval_log.json"
MEAN_SCORE = "test/mean_score"


def eval_log(rows: Sequence[EpisodeRow]) -> dict[str, float]:
    """The content of the file for finished episodes, at least one."""
    scores = {f"test/sim_max_reward_{row.seed}": row.reward / FULL_REWARD for row in rows}
    mean = statistics.fmean(row.reward / FULL_REWARD for row in rows)
    return {**scores, MEAN_SCORE: mean}


def write_eval_log(folder: Path, rows: Sequence[EpisodeRow]) -> None:
    """Write the file to the folder of the results, atomically."""
    write_text(folder / EVAL_LOG_FILE, json.dumps(eval_log(rows), indent=1) + "\n")
