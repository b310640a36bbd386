"""Cells whose files are written by hand, and commands that pretend to make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sam2act.core.run_folder import RunFolder
from sam2act.evaluation.latency import write_latency
from sam2act.experiments.cells import Cell, Settings
from sam2act.experiments.commands import FIRST_EVALUATION_SEED
from sam2act.experiments.presets import Preset
from tests.evaluation.evaluated_runs import episodes, write_description, write_rows

ONE, PLUS = Preset("one"), Preset("one_plus", "one", "tasks/tiny_TASK.yaml")
TASK = "put_block_back"


def settings(folder: Path, **changes) -> Settings:
    """Small ones."""
    return Settings(folder, **{"demos": 2, "episodes": 4, "device": "cpu", **changes})


def write_training(run: RunFolder, parameters: int = 1000, rate: float = 20.0) -> None:
    """What a finished training leaves."""
    run.folder.mkdir(parents=True, exist_ok=True)
    run.last.write_bytes(b"weights")
    costs = {"updates": 8, "total_updates": 8, "parameters": parameters, "seconds": 60.0}
    costs |= {"trained_parameters": parameters // 2, "memory_of": "process", "device": "cpu"}
    run.costs.write_text(json.dumps(costs | {"peak_memory_bytes": 2**29}))
    run.metrics.write_text(f"step,samples_per_second\n4,{rate}\n6,\n8,{rate + 2}\n")


def write_evaluation(cell: Cell, outcomes: str, latency: float = 0.05, **changes) -> None:
    """What a finished evaluation leaves: a letter per episode, 1 for success."""
    settings = {"tasks": [cell.task], "eval_episodes": len(outcomes)}
    settings |= {"seed": FIRST_EVALUATION_SEED + 100 * cell.seed}
    write_description(cell.results, settings=settings, **changes)
    write_rows(cell.results, episodes(outcomes, cell.task, settings["seed"]))
    write_latency(cell.results, lambda count: [latency] * count, rows=1, device="cpu")


def write_cell(cell: Cell, outcomes: str, parameters: int = 1000, **changes) -> Cell:
    """A complete cell."""
    if cell.first_run is not None and not cell.first_run.costs.is_file():
        write_training(cell.first_run)
    write_training(cell.run, parameters)
    write_evaluation(cell, outcomes, **changes)
    return cell


class PretendedCommands:
    """Stands for `runtime.steps.run`: writes what the commands of `cells` would.

    Attributes:
        ran: the names of what was made, in order.
    """

    def __init__(self, cells: list[Cell], outcome: Callable[[str], int] = lambda made: 0) -> None:
        """`outcome` gives the exit status of the command that makes something."""
        self.cells, self.outcome = cells, outcome
        self.ran: list[str] = []

    def __call__(self, step, folder, deadline, requests, *, log, environment) -> int:
        cell, own = next(
            (cell, own)
            for cell in self.cells
            for own in cell.steps()
            if own.command == step.command
        )
        self.ran.append(own.lock)
        log.parent.mkdir(parents=True, exist_ok=True)
        code = self.outcome(own.lock)
        if code:
            log.write_text("10%\r20%\nConfigError: bs: too large\n\n")
            return code
        if own.kind == "demos":
            words = list(step.command)
            output = Path(words[words.index("--output") + 1])
            for number in range(cell.settings.demos):
                place = output / cell.task / "all_variations" / "episodes" / f"episode{number}"
                place.mkdir(parents=True)
        elif own.kind == "eval":
            write_evaluation(cell, "1010")
        else:
            write_training(cell.run if own.kind == "train-plus" else cell.first_run or cell.run)
        return 0
