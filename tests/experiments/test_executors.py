"""Cells of policies that act at frame rate, and of one training under several executors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sam2act.experiments import run
from sam2act.experiments.cells import COMPLETE, Cell, make_cells
from sam2act.experiments.plan import describe, distinct_steps
from sam2act.experiments.presets import Preset
from sam2act.experiments.results import read_results
from sam2act.experiments.run import CellRunner
from tests.experiments.made_cells import ONE, TASK, PretendedCommands, settings, write_cell

FRAMES = Preset("frames", images="all", image_size=96)
ENSEMBLE = Preset("frames", images="all", image_size=96, executor="adaptive_ensemble(7)")


def cells_of(folder: Path) -> list[Cell]:
    return make_cells([ONE, FRAMES, ENSEMBLE], [TASK], [0], settings(folder))


def value(words: tuple[str, ...], flag: str) -> str:
    """What follows a flag; empty where it is absent."""
    return words[words.index(flag) + 1] if flag in words else ""


def test_executors_share_one_training_and_keyframes_have_demonstrations_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = cells_of(tmp_path)
    commands = PretendedCommands(cells)
    monkeypatch.setattr(run, "run", commands)
    assert CellRunner(cells, deadline=math.inf).run() == 0
    assert commands.ran == [
        *(f"demos_64px_seed0_{TASK}", f"train_one_{TASK}_seed0", f"eval_one_{TASK}_seed0"),
        *(f"demos_96px_all_seed0_{TASK}", f"train_frames_{TASK}_seed0"),
        *(f"eval_frames_{TASK}_seed0", f"eval_frames@adaptive_ensemble_7_{TASK}_seed0"),
    ]
    assert [cell.state() for cell in cells] == [COMPLETE] * 3
    assert cells[1].run == cells[2].run and cells[1].results != cells[2].results
    assert len(list((tmp_path / "cells").glob("*.json"))) == 3
    names = ["one", "frames", "frames@adaptive_ensemble(7)"]
    assert [found.name for found in read_results(cells)] == names


def test_frames_are_recorded_and_limit_the_episodes(tmp_path: Path) -> None:
    keyframes, frames, ensemble = cells_of(tmp_path)
    steps = distinct_steps([frames, ensemble])
    assert [step.kind for step in steps] == ["demos", "train", "eval", "eval"]
    demos, train, plain, other = (step.command for step in steps)
    assert (value(demos, "--images"), value(demos, "--image-size")) == ("all", "96")
    data = tmp_path / "data_96px_all_seed0"
    assert value(demos, "--output") == str(data / "train")
    options = value(train, "--exp_cfg_opts").split()
    assert options[options.index("image_size") + 1] == "96"
    assert options[options.index("data_folder") + 1] == str(data)
    for command in (plain, other):
        assert (
            value(command, "--episode-length") == "" and value(command, "--demo-lengths") == "1.5"
        )
        assert value(command, "--eval-datafolder") == str(data / "train")
    assert (value(plain, "--executor"), value(plain, "--log-name")) == ("", "compare")
    assert value(other, "--executor") == "adaptive_ensemble(7)"
    assert value(other, "--log-name") == "compare@adaptive_ensemble_7"
    assert value(keyframes.steps()[-1].command, "--episode-length") == "25"
    assert "frames@adaptive_ensemble(7), put_block_back, seed 0: missing" in describe(
        [ensemble], ensemble.settings
    )


def test_an_executor_more_needs_its_evaluation_alone(tmp_path: Path) -> None:
    _, frames, ensemble = cells_of(tmp_path)
    write_cell(frames, "1100")
    assert [step.kind for step in frames.open_steps()] == []
    assert [step.kind for step in ensemble.open_steps()] == ["eval"]
