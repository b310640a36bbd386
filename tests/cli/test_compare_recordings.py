"""Robot and cameras agree with what was recorded in RLBench."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

from sam2act.cli.compare_recordings import main
from tests.golden_files import demos_dir
from tests.in_process import run_main
from tests.places import SCRIPTS

STARTER = SCRIPTS / "compare_recordings.py"


def test_nine_tenths_of_the_robot_have_the_recorded_depth(tmp_path: Path) -> None:
    picture, figures = tmp_path / "comparison.png", tmp_path / "figures.json"
    flags = ("--data", demos_dir(), "--output", picture, "--json", figures)
    done = subprocess.run([sys.executable, STARTER, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shares = json.loads(figures.read_text())
    assert set(shares) == {"front", "left_shoulder", "right_shoulder"}
    assert min(shares.values()) >= 0.9
    assert Image.open(picture).height == 3 * 128


def test_missing_demos_are_named(tmp_path: Path) -> None:
    done = run_main(main, "--data", tmp_path)
    assert done.returncode == 2 and "set --data to the folder that holds" in done.stderr
    (tmp_path / "train" / "open_drawer" / "all_variations" / "episodes").mkdir(parents=True)
    done = run_main(main, "--data", tmp_path, "--output", tmp_path / "x.png")
    assert done.returncode == 2 and "holds no episode<N>" in done.stderr
