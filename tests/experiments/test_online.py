"""Cells of agents that learn by acting: their commands, what is missing, the table."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from sam2act.cli import mask_reference, rl_eval, rl_experiment, rl_train
from sam2act.cli.rl_common import transforms_of
from sam2act.config.load import load_network
from sam2act.experiments.cells import COMPLETE, MISSING, PARTIAL
from sam2act.experiments.online import OnlineCell, table


def cells_of(folder: Path, *flags: str) -> list[OnlineCell]:
    args = rl_experiment.build_parser().parse_args(["--output", str(folder), *flags])
    return rl_experiment._cells(args)


def parsed(cell: OnlineCell) -> dict[str, argparse.Namespace]:
    parsers = {"reference": mask_reference, "train": rl_train, "eval": rl_eval}
    return {
        step.kind: parsers[step.kind].build_parser().parse_args(list(step.command[4:]))
        for step in cell.steps()
    }


def test_commands_are_possible(tmp_path: Path) -> None:
    plain, masked, svea = cells_of(tmp_path, "--agents", "plain", "masked", "svea_masked")
    commands = parsed(masked)
    train, evaluation = commands["train"], commands["eval"]
    assert train.log_dir / f"{train.task}_{train.name}" == masked.run.folder
    assert evaluation.model_dir == masked.run.folder and evaluation.resume
    assert evaluation.levels == ["original", "color_hard", "video_hard"]
    assert (train.frames, train.action_repeat, evaluation.episodes) == (100_000, 8, 20)
    (text,) = transforms_of(train, "camera", tmp_path)
    assert text.startswith(f"sam_g('{commands['reference'].output}'") and "simulator" in text
    assert list(parsed(plain)) == ["train", "eval"] and not parsed(plain)["train"].use_SAM_g
    network = load_network(train.mvt_cfg_path, parsed(svea)["train"].mvt_cfg_opts)
    assert network.algorithm == "svea" and network.stddev(6000) == 0.1
    assert commands["reference"].image_size == network.image_size == 64


def write_returns(cell: OnlineCell, *values: float) -> None:
    lines = ["task,level,episodes,mean,spread,updates"]
    levels = cell.settings.levels
    lines += [f"t,{level},20,{v},1.0,5" for level, v in zip(levels, values, strict=False)]
    (cell.run.folder / "returns.csv").write_text("\n".join(lines) + "\n")


def write_training(cell: OnlineCell, frames: int) -> None:
    cell.run.folder.mkdir(parents=True, exist_ok=True)
    (cell.run.folder / "train.csv").write_text(f"frame,episode\n1000,1\n{frames},2\n")
    cell.run.last.touch()


def test_what_is_missing_is_run_and_nothing_else(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, "--agents", "masked")
    kinds = ["reference", "train", "eval"]
    assert cell.state() == MISSING and [step.kind for step in cell.open_steps()] == kinds
    (tmp_path / "references").mkdir()
    (tmp_path / "references" / "camera_masked_0.png").touch()
    write_training(cell, 99_992)
    assert cell.state() == PARTIAL and [step.kind for step in cell.open_steps()] == kinds[1:]
    write_training(cell, 100_000)
    write_returns(cell, 700.0, 600.0)
    assert [step.kind for step in cell.open_steps()] == ["eval"]
    write_returns(cell, 700.0, 600.0, 500.0)
    assert cell.state() == COMPLETE


def test_the_table_pools_seeds(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, "--seeds", "2")
    for cell, value in zip(cells[:3], (700.0, 650.0, 720.0), strict=True):
        write_training(cell, 100_000)
        write_returns(cell, value, value / 2)
    assert table(cells) == [
        ["plain", "710 +- 14", "355 +- 7", "-"],
        ["masked", "650", "325", "-"],
    ]


def test_the_experiment_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rl_experiment.main(["--describe", "--output", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "2 cells, 0 complete" in text and text.count("sam2act rl-train") == 2
    assert rl_experiment.main(["--agents", "blind"]) == 2
    assert "--agents: 'blind' is not one of" in capsys.readouterr().err
