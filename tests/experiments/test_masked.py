"""Cells of the experiment on masks: that their commands are possible, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sam2act.cli import mask_demos, mask_reference, mask_report, report
from sam2act.cli.evaluate import build_parser as eval_parser
from sam2act.cli.mask_experiment import build_parser, page_steps
from sam2act.cli.mask_experiment import main as experiment
from sam2act.cli.training import build_parser as train_parser
from sam2act.config.load import load_experiment
from sam2act.core.errors import ConfigError
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.envs.embedded.backend import check_task
from sam2act.experiments.cells import COMPLETE, MISSING, PARTIAL
from sam2act.experiments.masked import OBJECTS, MaskedCell, make_masked_cells
from sam2act.experiments.presets import Preset
from tests.evaluation.evaluated_runs import episodes, write_description, write_rows
from tests.experiments.made_cells import settings, write_training

TASK, FACTORS = "put_block_back", ("table_texture", "all")


def cell_of(folder: Path, way: str, factors: tuple[str, ...] = FACTORS) -> MaskedCell:
    (cell,) = make_masked_cells(
        [way], [TASK], [1], settings(folder), preset=Preset("tiny"), factors=factors
    )
    return cell


def words(cell: MaskedCell, kind: str) -> list[list[str]]:
    return [list(step.command[4:]) for step in cell.steps() if step.kind == kind]


def write_evaluation(cell: MaskedCell, factor: str) -> None:
    folder = cell.run.evaluations / factor / cell.run.last.stem
    write_description(folder, settings={"tasks": [TASK], "eval_episodes": 4})
    write_rows(folder, episodes("1010", TASK))


def test_a_plain_agent_needs_no_masks(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "plain")
    assert [step.kind for step in cell.steps()] == ["demos", "train", "eval", "eval", "eval"]
    (options,) = (line[line.index("--exp_cfg_opts") + 1] for line in words(cell, "train"))
    assert load_experiment("configs/tiny.yaml", options).transforms == ()


@pytest.mark.parametrize("way", ["simulator", "grabcut", "random_walk"])
def test_commands_of_masked_agents_are_possible(tmp_path: Path, way: str) -> None:
    cell = cell_of(tmp_path, way)
    assert words(cell, "demos")[0][-2:] == ["--images", "all"]
    references = [mask_reference.build_parser().parse_args(w) for w in words(cell, "reference")]
    assert [tuple(one.objects) for one in references] == list(OBJECTS[TASK])
    assert [one.number for one in references] == [0, 1, 2]
    (line,) = words(cell, "train")
    train = train_parser("").parse_args(line)
    loaded = load_experiment(train.exp_cfg_path, train.exp_cfg_opts)
    assert loaded.transforms == (cell.transform,) and f"segmenter='{way}'" in cell.transform
    assert (Path(train.log_dir) / f"{TASK}_seed1") == cell.run.folder
    made = [mask_demos.build_parser().parse_args(line) for line in words(cell, "masks")]
    assert bool(made) == (way == "simulator") == ("stored:" in cell.transform)
    assert all("stored:" not in one.transform and one.data == cell._demos.parent for one in made)
    evaluations = [eval_parser().parse_args(line) for line in words(cell, "eval")]
    assert [one.perturb or [] for one in evaluations] == [[], ["table_texture"], ["all"]]
    assert len({one.log_name for one in evaluations}) == 3
    assert {one.seed for one in evaluations} == {7100}


def test_what_is_missing_is_run_and_nothing_else(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "simulator")
    assert cell.state() == MISSING and len(cell.open_steps()) == len(cell.steps()) == 9
    for number in range(3):
        cell.references.mkdir(parents=True, exist_ok=True)
        (cell.references / f"{POLICY_CAMERAS[0]}_{number}.png").touch()
    assert [step.kind for step in cell.open_steps()][:2] == ["masks", "train"]
    cell.masks.mkdir(parents=True)
    (cell.masks / f"demos_{TASK}.json").write_text(json.dumps({"demos": 1}))
    assert cell.open_steps()[0].kind == "masks", "two demonstrations are wanted"
    (cell.masks / f"demos_{TASK}.json").write_text(json.dumps({"demos": 2}))
    assert cell.open_steps()[0].kind == "train"
    write_training(cell.run)
    write_evaluation(cell, "none")
    write_evaluation(cell, "all")
    (step,) = cell.open_steps()
    assert "table_texture" in step.title and cell.state() == PARTIAL
    write_evaluation(cell, "table_texture")
    assert cell.state() == COMPLETE and cell.open_steps() == []
    more = cell_of(tmp_path, "simulator", ("background_texture", *FACTORS))
    assert ["background_texture" in step.title for step in more.open_steps()] == [True]


def test_pages_are_made_by_commands_that_are_understood(tmp_path: Path) -> None:
    cells = [cell_of(tmp_path, way) for way in ("plain", "simulator")]
    first, second = (list(step.command[3:]) for step in page_steps(cells))
    made = report.build_parser().parse_args(first[1:])
    assert [run.label for run in made.runs] == ["plain", "simulator"]
    page = mask_report.build_parser().parse_args(second[1:])
    assert page.task == TASK and page.factors == list(FACTORS)
    assert [run.folder for run in page.runs] == [cell.run.folder for cell in cells]
    assert page.transforms == [cells[1].looking] and "masks=" not in cells[1].looking


def test_the_default_experiment_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment(["--describe", "--output", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "12 cells, 0 complete" in text and text.count("sam2act mask-demos") == 4
    assert not list(tmp_path.iterdir())
    for task in build_parser().parse_args([]).tasks:
        check_task(task)


def test_wrong_flags_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--ways: 'blind' is not one of 'plain'"):
        cell_of(tmp_path, "blind")
    with pytest.raises(ConfigError, match="must not contain spaces"):
        cell_of(tmp_path / "a b", "plain")
