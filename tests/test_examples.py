"""Every example runs as its first lines say, and is short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
NEED_A_SERVER = {"cogact_client"}  # run by tests/serving
ALONE = [path for path in EXAMPLES if path.stem not in NEED_A_SERVER]
MOST_LINES = 40
# What the output of each must contain.
SHOWN = {
    "act_on_observation": "position [",
    "evaluate_from_python": "success in percent: {'stay_at_home': [",
    "new_task": "solved in",
    "plugin_policy": "actions (B, H, A): (2, 4, 7)",
    "train_on_own_demos": "total_loss",
}


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert SHOWN[path.stem] in done.stdout + done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
