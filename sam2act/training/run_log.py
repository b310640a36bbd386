"""Where the figures of a run go: console, metrics.csv, and wandb or tensorboard if installed.

Only rank 0 writes. Tensors are read here and nowhere else, so callers log on few steps only.
"""

from __future__ import annotations

import csv
import importlib
import io
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sam2act.core.files import naming, replacing
from sam2act.core.run_folder import RunFolder

LOGGER = logging.getLogger(__name__)
STEP_COLUMN = "step"
PACKAGE_LOGGER = "sam2act"


class _Sink(Protocol):
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Records `values` under `step`."""

    def close(self) -> None:
        """Ends the recording."""


def configure_console(rank: int = 0) -> None:
    """Lets rank 0 print from INFO upwards and the other ranks from WARNING upwards."""
    logger = logging.getLogger(PACKAGE_LOGGER)
    logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)


class RunLog:
    """Writes the figures of one run; on ranks other than 0 every call does nothing.

    Args:
        files: of the run; the table of figures survives a resume, without the rows of steps that
            will be run again.
        rank: global rank.
        resume_step: first step that this process will log; 0 starts anew.
        wandb: also log to wandb; without the package, one warning.
        project: wandb project (`exp_id`).
        name: wandb run name (`exp_name`).
        config: experiment configuration shown by wandb.
    """

    def __init__(
        self,
        files: RunFolder,
        *,
        rank: int = 0,
        resume_step: int = 0,
        wandb: bool = False,
        project: str = "sam2act",
        name: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._sinks: list[_Sink] = []
        if rank != 0:
            return
        files.folder.mkdir(parents=True, exist_ok=True)
        self._sinks.append(CsvSink(files.metrics, resume_step))
        optional = [_open_tensorboard(files.events, resume_step)]
        if wandb:
            optional.append(_open_wandb(files, project, name, config))
        self._sinks += [sink for sink in optional if sink is not None]

    def log(
        self,
        step: int,
        values: Mapping[str, float | Tensor],
        *,
        console: bool = True,
        details: Mapping[str, float] | None = None,
        note: str = "",
    ) -> None:
        """Records named figures (numbers or one-element tensors) under `step`.

        Waits for the device if a value is a tensor.

        Args:
            step: updates done.
            values: the figures.
            console: also print them.
            details: figures that are recorded but never printed.
            note: printed after the figures.
        """
        if not self._sinks:
            return
        numbers = as_numbers(values)
        for sink in self._sinks:
            sink.write(step, {**numbers, **(details or {})})
        if console:
            parts = [f"{name} {value:.4g}" for name, value in numbers.items()]
            LOGGER.info("step %d  %s", step, "  ".join([*parts, note] if note else parts))

    def message(self, text: str) -> None:
        """Prints one line on rank 0."""
        if self._sinks:
            LOGGER.info("%s", text)

    def close(self) -> None:
        """Closes files and services; later calls do nothing."""
        for sink in self._sinks:
            sink.close()
        self._sinks = []


class CsvSink:
    """A table with one row per call and one column per name; grows columns as names appear.

    Args:
        path: the file; an existing one is continued.
        resume_step: rows of this step and later ones are dropped.

    Raises:
        ValueError: the file is not a table of this kind.
    """

    def __init__(self, path: Path, resume_step: int) -> None:
        self.path = path
        self.columns, rows = _read_table(path)
        self._rewrite([row for row in rows if int(row[STEP_COLUMN]) < resume_step])

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one row; missing columns stay empty."""
        new = [name for name in values if name not in self.columns]
        if new:
            _, rows = _read_table(self.path)
            self.columns += new
            self._rewrite(rows)
        row = {STEP_COLUMN: step, **{name: repr(float(value)) for name, value in values.items()}}
        with naming(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="", lineterminator="\n").writerow(row)

    def close(self) -> None:
        """Nothing to do: every row is on disk."""

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with (
            replacing(self.path) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


class _WandbSink:
    """Forwards to a started wandb run."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class _TensorboardSink:
    """Forwards to a `SummaryWriter`."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


def as_numbers(values: Mapping[str, float | Tensor]) -> dict[str, float]:
    """The values as Python numbers, with one transfer for all tensors of a device."""
    numbers = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
    by_device: dict[torch.device, dict[str, Tensor]] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            by_device.setdefault(value.device, {})[name] = value.detach().double().reshape(())
    for tensors in by_device.values():
        numbers.update(zip(tensors, torch.stack(list(tensors.values())).tolist(), strict=True))
    return {name: float(numbers[name]) for name in values}


def _read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and complete rows of a metrics file; a torn last line is left out."""
    if not path.exists():
        return [STEP_COLUMN], []
    text = path.read_text(encoding="utf-8")
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    columns = list(reader.fieldnames or [STEP_COLUMN])
    rows = [dict(row) for row in reader]
    if STEP_COLUMN not in columns or not all(_is_integer(row[STEP_COLUMN]) for row in rows):
        raise ValueError(
            f"{path}: not a table with an integer column '{STEP_COLUMN}'; move the file away"
        )
    return columns, rows


def _is_integer(text: str | None) -> bool:
    return text is not None and text.lstrip("-").isdigit()


def _open_tensorboard(folder: Path, resume_step: int) -> _Sink | None:
    try:
        module = importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        return None
    return _TensorboardSink(module.SummaryWriter(str(folder), purge_step=resume_step))


def _open_wandb(
    files: RunFolder, project: str, name: str, config: Mapping[str, Any] | None
) -> _Sink | None:
    """A started wandb run, None (after one warning) where wandb cannot be used."""
    try:
        wandb = importlib.import_module("wandb")
    except ImportError:
        LOGGER.warning(
            'wandb: True, but the package is missing (pip install -e ".[train]"); '
            "figures go to the console and %s only",
            files.metrics.name,
        )
        return None
    try:
        if os.environ.get("WANDB_API_KEY") and os.environ.get("WANDB_MODE") != "offline":
            wandb.login()
        run = wandb.init(
            project=project, name=name, config=dict(config or {}), dir=str(files.folder)
        )
    except wandb.Error as error:
        LOGGER.warning(
            "wandb did not start (%s); set WANDB_MODE=offline or WANDB_API_KEY, or wandb False; "
            "figures go to the console and %s only",
            error,
            files.metrics.name,
        )
        return None
    return _WandbSink(run)
