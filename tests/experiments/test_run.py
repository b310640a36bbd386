"""Cells on disk: what is run, what is not, shares, failures; the commands only pretend."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path

import pytest

from sam2act.cli.main import COMMANDS
from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.experiments import run
from sam2act.experiments.cells import COMPLETE, MISSING, PARTIAL, Cell, make_cells
from sam2act.experiments.plan import describe, write_plan
from sam2act.experiments.presets import choose_presets
from sam2act.experiments.run import (
    CellRunner,
    Share,
    duration,
    expected_seconds,
    failures,
    read_record,
)
from sam2act.policies.base import policy_class
from sam2act.runtime.steps import INTERRUPTED, TIME_IS_UP
from tests.experiments.made_cells import ONE, PLUS, TASK, PretendedCommands, settings, write_cell

DEMOS = f"demos_64px_seed0_{TASK}"
FIRST, SECOND = f"train_one_{TASK}_seed0", f"train_one_plus_{TASK}_seed0"
EVAL, EVAL_PLUS = f"eval_one_{TASK}_seed0", f"eval_one_plus_{TASK}_seed0"


def cells_of(folder: Path, presets=(ONE, PLUS), tasks=(TASK,), seeds=(0,)) -> list[Cell]:
    return make_cells(presets, tasks, seeds, settings(folder))


def pretend(monkeypatch: pytest.MonkeyPatch, cells: list[Cell], **options) -> PretendedCommands:
    commands = PretendedCommands(cells, **options)
    monkeypatch.setattr(run, "run", commands)
    return commands


def run_all(cells: list[Cell], deadline: float = math.inf) -> int:
    return CellRunner(cells, deadline=deadline).run()


def test_what_cells_share_is_made_once_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = cells_of(tmp_path)
    commands = pretend(monkeypatch, cells)
    assert [cell.state() for cell in cells] == [MISSING, MISSING]
    assert run_all(cells) == 0
    assert commands.ran == [DEMOS, FIRST, EVAL, SECOND, EVAL_PLUS]
    assert [cell.state() for cell in cells] == [COMPLETE, COMPLETE]
    assert run_all(cells) == 0 and len(commands.ran) == 5
    output = capsys.readouterr().out
    assert "[1/2] one, put_block_back, seed 0" in output and "1 cells left, about" in output
    assert "2 of 2 cells are complete already" in output
    shutil.rmtree(tmp_path / "data_64px_seed0")
    assert cells[0].open_steps() == [], "a complete cell needs its demonstrations no more"


@pytest.mark.parametrize("stopped", [SECOND, EVAL])
def test_an_interrupted_comparison_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    cells = cells_of(tmp_path)
    first = pretend(monkeypatch, cells, outcome=lambda made: INTERRUPTED * (made == stopped))
    assert run_all(cells) == INTERRUPTED
    assert failures(cells) == [], "an interruption is no failure"
    second = pretend(monkeypatch, cells)
    assert run_all(cells) == 0
    assert first.ran[-1] == second.ran[0] == stopped
    assert first.ran[:-1] + second.ran == [DEMOS, FIRST, EVAL, SECOND, EVAL_PLUS]


def test_nothing_begins_after_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_of(tmp_path)
    commands = pretend(monkeypatch, cells)
    assert run_all(cells, deadline=0.0) == TIME_IS_UP and commands.ran == []


def test_a_failing_cell_stops_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = cells_of(tmp_path, presets=(PLUS, ONE))
    pretend(monkeypatch, cells, outcome=lambda made: 2 * (made == SECOND))
    assert run_all(cells) == 0
    assert [cell.state() for cell in cells] == [MISSING, COMPLETE]
    ((cell, record),) = failures(cells)
    assert cell.preset is PLUS and "training of one_plus" in record.failed
    assert record.why == "exit status 2: ConfigError: bs: too large"
    again = pretend(monkeypatch, cells)
    assert run_all(cells) == 0
    assert again.ran == [SECOND, EVAL_PLUS] and failures(cells) == []


def test_a_command_that_makes_nothing_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = cells_of(tmp_path, presets=(ONE,))
    monkeypatch.setattr(run, "run", lambda *args, **options: 0)
    assert run_all(cells) == 0
    assert "is not whole (demos_64px" in read_record(cells[0]).why


def test_shards_together_make_what_one_process_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for name, count in (("one", 1), ("three", 3)):
        cells = cells_of(tmp_path / name, tasks=(TASK, "rearrange_block"), seeds=(0, 1))
        commands = pretend(monkeypatch, cells)
        shares = [Share(index, count).of(cells) for index in range(count)]
        assert sorted(cell.name for part in shares for cell in part) == sorted(
            cell.name for cell in cells
        )
        for part in shares:
            assert run_all(part) == 0
        assert all(cell.state() == COMPLETE for cell in cells)
        made[name] = sorted(commands.ran)
    assert made["one"] == made["three"] and len(set(made["one"])) == len(made["one"])


def test_a_training_that_stopped_is_partial(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, presets=(ONE,))
    write_cell(cell, "1111")
    costs = json.loads(cell.run.costs.read_text())
    (cell.results / "latency.json").unlink()
    assert cell.state() == PARTIAL and [step.kind for step in cell.open_steps()] == ["eval"]
    cell.run.costs.write_text(json.dumps(costs | {"updates": 7}))
    shutil.rmtree(cell.results)
    assert [step.kind for step in cell.open_steps()] == ["demos", "train", "eval"]


def test_more_episodes_extend_a_cell(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, presets=(ONE,))
    write_cell(cell, "1111")
    assert cell.state() == COMPLETE
    more = Cell(ONE, TASK, 0, settings(tmp_path, episodes=6))
    assert more.state() == PARTIAL and [step.kind for step in more.open_steps()] == ["eval"]


def test_torchrun_is_kept_from_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    seen = {}
    monkeypatch.setattr(run, "run", lambda *args, environment, log: seen.update(environment) or 5)
    (tmp_path / "logs").mkdir()
    (cell,) = cells_of(tmp_path, presets=(ONE,))
    cell.log.write_text("")
    run_all([cell])
    assert "PATH" in seen
    assert not [name for name in seen if "RANK" in name or "WORLD" in name or "TORCHEL" in name]
    assert read_record(cell).why == "exit status 5: it said nothing"


def test_the_plan_holds_commands_that_are_understood(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    cells = make_cells(choose_presets(["tiny", "tiny_plus"]), [TASK], [0], settings(folder))
    write_plan(cells, cells[0].settings)
    lines = (folder / "commands.sh").read_text().splitlines()
    words = [shlex.split(line) for line in lines if not line.startswith(("#", "set"))]
    assert [line[3] for line in words] == ["demos", "train", "eval", "train-plus", "eval"]
    assert {line[3] for line in words} <= set(COMMANDS)
    plan = json.loads((folder / "cells.json").read_text())
    assert [len(cell["commands"]) for cell in plan["cells"]] == [3, 4]
    for stage, line in ((1, words[1]), (2, words[3])):
        given = dict(zip(line[4::2], line[5::2], strict=True))
        task_file = given.get("--task_cfg_path", "")
        experiment = load_experiment(given["--exp_cfg_path"], given["--exp_cfg_opts"], task_file)
        network = load_network(given["--mvt_cfg_path"], "", task_file)
        policy_class(network).check_stage(stage, experiment, network)
        assert experiment.data_folder == str(folder / "data_64px_seed0")
        name = f"{experiment.exp_id}_{experiment.exp_name}"
        assert Path(given["--log-dir"], name) == cells[stage - 1].run.folder
    assert given["--init-from"] == str(cells[0].run.last)
    text = describe(cells, folder)
    assert "tiny, put_block_back, seed 0: missing" in text and "sam2act train-plus" in text
    assert text.count("sam2act demos") == 1


def test_another_comparison_needs_another_folder(tmp_path: Path) -> None:
    cells = cells_of(tmp_path)
    write_plan(cells, settings(tmp_path))
    write_plan(cells[:1], settings(tmp_path, episodes=50, workers=7))  # may change
    with pytest.raises(ConfigError, match="has --demos 2, now it is 3; choose another --output"):
        write_plan(cells, settings(tmp_path, demos=3))


def test_what_is_left_takes_as_long_as_cells_like_it_did(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, seeds=(0, 1))
    assert expected_seconds(cells, cells) is None
    for cell, seconds in zip(cells[:2], (10.0, 40.0), strict=True):
        write_cell(cell, "1111")
        cell.record.parent.mkdir(exist_ok=True)
        cell.record.write_text(json.dumps({"seconds": {"train": seconds}}))
    assert expected_seconds(cells[2:], cells) == 50
    assert expected_seconds(cells[3:], cells) == 40
    assert [duration(s) for s in (20, 600, 7500)] == ["20 s", "10 min", "2 h 05 min"]


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_impossible_shares(index: int, count: int) -> None:
    with pytest.raises(ConfigError, match="numbered from 0"):
        Share(index, count)
