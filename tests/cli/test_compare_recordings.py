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


def test_scene_script_and_depth_are_those_recorded(tmp_path: Path) -> None:
    picture, agreement = tmp_path / "comparison.png", tmp_path / "agreement.png"
    figures = tmp_path / "figures.json"
    flags = ("--data", demos_dir(), "--output", picture, "--json", figures, "--every", "30")
    command = [sys.executable, STARTER, *flags, "--agreement", agreement]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert set(found["depth_within_1cm"]) == {"front", "left_shoulder", "right_shoulder"}
    assert min(found["depth_within_1cm"].values()) >= 0.95
    assert min(found["overlap"].values()) >= 0.97
    assert max(found[name] for name in ("place", "joint", "handles")) < 0.002
    assert found["turn"] < 0.01
    first, *others = found["waypoints"]
    for episode in (*others, {"waypoint0": first["waypoint0"], "waypoint1": first["waypoint1"]}):
        assert max(episode.values()) < 0.002
    assert first["waypoint2"] < 0.01  # the tip only passes it
    assert Image.open(picture).height == 3 * 128
    assert Image.open(agreement).size == (9 * 128, 2 * 128)


def test_missing_demos_are_named(tmp_path: Path) -> None:
    done = run_main(main, "--data", tmp_path)
    assert done.returncode == 2 and "set --data to the folder that holds" in done.stderr
    (tmp_path / "train" / "open_drawer" / "all_variations" / "episodes").mkdir(parents=True)
    done = run_main(main, "--data", tmp_path, "--output", tmp_path / "x.png")
    assert done.returncode == 2 and "holds no episode<N>" in done.stderr
