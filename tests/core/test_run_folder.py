"""Names in run folders: of both stages, and what tells which stage a checkpoint is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.core.run_folder import RunFolder, epochs_beside, stage_of

FOLDER = Path("run")


def test_the_names_of_released_run_folders() -> None:
    first, second = RunFolder(FOLDER), RunFolder(FOLDER, 2)
    assert [path.name for path in (first.experiment, first.network)] == [
        "exp_cfg.yaml",
        "mvt_cfg.yaml",
    ]
    assert (first.checkpoint(3).name, first.last.name) == ("model_3.pth", "model_last.pth")
    assert [path.name for path in (second.experiment, second.network, second.best)] == [
        "exp_cfg_plus.yaml",
        "mvt_cfg_plus.yaml",
        "model_plus_best.pth",
    ]
    assert (second.arguments.name, second.metrics.name) == ("args_plus.yaml", "metrics_plus.csv")
    assert first.events == FOLDER and second.events == FOLDER / "plus"
    assert first.evaluations == second.evaluations == FOLDER / "eval"


@pytest.mark.parametrize(
    ("name", "content", "stage"),
    [
        ("model_last.pth", {}, 1),
        ("model_plus_last.pth", {}, 2),
        ("model_plus_last.pth", {"extra": None}, 2),
        ("renamed.pth", {"extra": {"stage": 2}}, 2),
        ("model_plus_last.pth", {"extra": {"stage": 1}}, 1),
        ("model_plus_last.pth", {"extra": {"stage": "third"}}, 2),
    ],
)
def test_the_file_tells_its_stage_and_its_name_only_without_that(name, content, stage) -> None:
    assert stage_of(Path("sam2act_plus") / name, content) == stage
    assert RunFolder.of(FOLDER / name, content) == RunFolder(FOLDER, stage)


def test_the_newest_checkpoint_is_the_last_or_that_of_the_last_epoch(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.newest() is None
    for name in ("model_2.pth", "model_10.pth", "model_plus_11.pth", "model_best.pth"):
        (tmp_path / name).touch()
    assert run.newest() == tmp_path / "model_10.pth"
    assert RunFolder(tmp_path, 2).newest() == tmp_path / "model_plus_11.pth"
    run.last.touch()
    assert run.newest() == run.last
    assert sorted(epochs_beside(run.last)) == sorted(epochs_beside(run.checkpoint(2))) == [2, 10]
