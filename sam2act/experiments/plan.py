"""The plan of a comparison on disk: its cells with their commands, to read or to run by hand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.experiments.cells import Cell, CellStep, Runnable, Settings
from sam2act.experiments.commands import as_text

CELLS_FILE, COMMANDS_FILE = "cells.json", "commands.sh"
FORMAT = 1


def write_plan(cells: Sequence[Cell], settings: Settings) -> None:
    """Write `cells.json` and `commands.sh` to the folder.

    Raises:
        ConfigError: the folder holds a comparison with other settings.
    """
    check_settings(settings)
    content = {
        "format": FORMAT,
        "settings": settings.identity(),
        "cells": [
            {
                "name": cell.name,
                "preset": cell.preset.label,
                "task": cell.task,
                "seed": cell.seed,
                "commands": [list(step.command) for step in cell.steps()],
            }
            for cell in cells
        ],
    }
    _write(settings.output / CELLS_FILE, json.dumps(content, indent=1) + "\n")
    lines = [f"# {step.title}\n{shlex.join(step.command)}" for step in distinct_steps(cells)]
    _write(settings.output / COMMANDS_FILE, "\n".join(["set -e", *lines]) + "\n")


def check_settings(settings: Settings) -> None:
    """Make sure that the folder holds no comparison, or one with these settings.

    Raises:
        ConfigError: it holds one with others, or the file cannot be read.
    """
    path = settings.output / CELLS_FILE
    if not path.is_file():
        return
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no plan of a comparison: {error}; remove it") from error
    for key, value in settings.identity().items():
        if stored.get(key) != value:
            flag = FLAGS.get(key, key)
            raise ConfigError(
                f"{path}: the comparison in this folder has {flag} {stored.get(key)!r}, now it is "
                f"{value!r}; choose another --output"
            )


# Settings -> their flags.
FLAGS = {
    "demos": "--demos",
    "image_size": "--image-size",
    "episode_length": "--episode-length",
    "experiment_options": "--exp-cfg-opts",
    "second_stage_options": "--plus-cfg-opts",
    "network_options": "--mvt-cfg-opts",
}


def distinct_steps(cells: Sequence[Cell]) -> list[CellStep]:
    """The commands of all cells, each once, in an order in which they can run."""
    steps = {step.command: step for cell in cells for step in cell.steps()}
    return list(steps.values())


def describe(cells: Sequence[Runnable], output: Path) -> str:
    """Every cell with its state and the commands that are missing, in words."""
    lines, shown = [], set()
    for cell in cells:
        lines.append(f"\n{cell.title}: {cell.state()}")
        for step in cell.open_steps():
            text = as_text(step.command)
            note = "  (as above) " if step.command in shown else "  "
            lines.append(f"{note}{step.title if step.command in shown else text}")
            shown.add(step.command)
    count = sum(1 for cell in cells if not cell.open_steps())
    lines.append(f"\n{len(cells)} cells, {count} complete, below {output}")
    return "\n".join(lines).lstrip()


def _write(path: Path, text: str) -> None:
    with replacing(path, shared=True) as partial:
        partial.write_text(text, encoding="utf-8")
