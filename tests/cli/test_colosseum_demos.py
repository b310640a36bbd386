"""The folders of The Colosseum: written, read for training, evaluated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sam2act.cli import demos, evaluate
from sam2act.data.rlbench.demo_folders import (
    DESCRIPTIONS_FILE,
    VARIATION_FILE,
    episodes_folder,
    tasks_below,
)
from sam2act.data.rlbench.demos import read_episode
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest

SIDE = 32


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demos of open_drawer under two indices."""
    output = tmp_path_factory.mktemp("colosseum") / "test"
    wanted = ["--tasks", "open_drawer_0", "open_drawer_13", "--episodes", "2"]
    flags = ["--output", str(output), "--workers", "1", "--image-size", str(SIDE)]
    assert demos.main([*wanted, *flags]) == 0
    return output


def test_layout_is_the_published_one(split: Path) -> None:
    assert tasks_below(split) == ["open_drawer_0", "open_drawer_13"]
    plain, every = split / "open_drawer_0", split / "open_drawer_13"
    assert (plain / "variation0" / "episodes" / "episode1" / "low_dim_obs.pkl").is_file()
    assert (plain / "variation0" / DESCRIPTIONS_FILE).is_file()
    assert (every / "episodes" / "episode1" / DESCRIPTIONS_FILE).is_file()
    assert episodes_folder(split.parent, "test", "open_drawer_13") == every / "episodes"


def test_published_episodes_without_files_of_their_own_are_read(
    split: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(split / "open_drawer_0", tmp_path / "test" / "open_drawer_0")
    for episode in (copy / "variation0" / "episodes").iterdir():
        (episode / DESCRIPTIONS_FILE).unlink()
        (episode / VARIATION_FILE).unlink()
        known = read_episode(episode)
        assert known.variation_number == 0 and known.instruction == "open the bottom drawer"
    request = StoreRequest(tmp_path, tmp_path / "stores", split="test", demo=2, image_size=SIDE)
    assert ensure_store(request, ["open_drawer_0"]).instructions == ("open the bottom drawer",)


def test_demos_are_replayed_in_their_perturbed_scenes(split: Path, tmp_path: Path) -> None:
    flags = ["--ground-truth", "--tasks", "open_drawer_0", "--eval-datafolder", str(split)]
    flags += ["--model-folder", str(tmp_path), "--eval-episodes", "2", "--workers", "1"]
    assert evaluate.main([*flags, "--device", "cpu"]) == 0
    rows = next((tmp_path / "eval").rglob("*.csv")).read_text(encoding="utf-8")
    assert "open_drawer_0" in rows and "100" in rows
