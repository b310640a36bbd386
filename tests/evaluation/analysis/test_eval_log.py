"""The results in the form of Diffusion Policy's evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sam2act.evaluation.analysis.eval_log import EVAL_LOG_FILE, write_eval_log
from tests.evaluation.evaluated_runs import episode


def test_the_score_is_the_mean_of_graded_rewards(tmp_path: Path) -> None:
    rows = [episode("pusht", 0, 0, reward=40.0), episode("pusht", 1, 1)]
    write_eval_log(tmp_path, rows)
    log = json.loads((tmp_path / EVAL_LOG_FILE).read_text())
    assert log["test/mean_score"] == pytest.approx(0.7)
    assert log[f"test/sim_max_reward_{rows[0].seed}"] == 0.4 and len(log) == 3
