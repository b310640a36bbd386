"""The cells of the experiment with agents that learn by acting: plain and masked ones, at levels.

OUTPUT/references/                    reference picture and mask of the robot
OUTPUT/runs/TASK_masked_seed0/        run folder of a training, with its returns.csv
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.core.run_folder import RunFolder
from sam2act.experiments import commands
from sam2act.experiments.cells import COMPLETE, MISSING, PARTIAL, CellStep

# Agent -> keys of its network, and whether it is masked.
AGENTS = {
    "plain": ("", False),
    "masked": ("", True),
    "svea": ("algorithm svea", False),
    "svea_masked": ("algorithm svea", True),
}
RETURNS = "returns.csv"  # of `sam2act rl-eval`


@dataclass(frozen=True)
class OnlineSettings:
    """What all agents share.

    Attributes:
        output: folder of everything, absolute.
        task: of DMControl.
        levels: of the evaluations.
        network: yaml of the agent.
        network_options: more keys of it.
        image_size: pixels per side, as the network says.
        frames: of a training.
        action_repeat: frames per action.
        batch: samples per update.
        episodes: per evaluation.
        masks: flags of `rl-train` that choose features, segmenter and match.
        training_options: more flags of `rl-train`.
    """

    output: Path
    task: str
    levels: tuple[str, ...]
    network: str
    network_options: str
    image_size: int
    frames: int
    action_repeat: int
    batch: int
    episodes: int
    masks: tuple[str, ...]
    training_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnlineCell:
    """One agent with one seed."""

    agent: str
    seed: int
    settings: OnlineSettings

    @property
    def name(self) -> str:
        """As in names of files."""
        return f"{self.agent}_seed{self.seed}"

    @property
    def title(self) -> str:
        """As it is printed."""
        return f"{self.agent}, {self.settings.task}, seed {self.seed}"

    @property
    def group(self) -> tuple[str, ...]:
        """What tells how long it takes."""
        return (self.agent,)

    @property
    def output(self) -> Path:
        """Folder of the experiment."""
        return self.settings.output

    @property
    def run(self) -> RunFolder:
        """The files of its training."""
        return RunFolder(self.output / "runs" / f"{self.settings.task}_{self.name}")

    @property
    def record(self) -> Path:
        """The file that says how its commands ended."""
        return self.output / "cells" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What its commands printed."""
        return self.output / "logs" / f"{self.name}.log"

    def state(self) -> str:
        """`complete`, `partial` or `missing`."""
        if not self.open_steps():
            return COMPLETE
        return PARTIAL if self.run.folder.is_dir() else MISSING

    def steps(self) -> list[CellStep]:
        """Its commands in order."""
        masked = [self._reference()] if AGENTS[self.agent][1] else []
        return [*masked, self._training(), self._evaluation()]

    def open_steps(self) -> list[CellStep]:
        """Those that are not done."""
        return [step for step in self.steps() if not step.is_done()]

    def returns(self, level: str) -> float | None:
        """Its mean return at a level; None if it was not evaluated there."""
        found = [
            float(row["mean"])
            for row in _rows(self.run.folder / RETURNS)
            if row["level"] == level and int(row["episodes"]) == self.settings.episodes
        ]
        return found[-1] if found else None

    # ---------------------------------------------------------------------------- its commands
    @property
    def _references(self) -> Path:
        return self.output / "references"

    def _reference(self) -> CellStep:
        settings = self.settings
        command = commands.sam2act(
            *("mask-reference", "--backend", "dmc", "--task", settings.task),
            *("--image-size", settings.image_size, "--output", self._references),
        )
        return CellStep(
            "reference",
            f"reference of {settings.task}",
            command,
            "reference",
            lambda: any(self._references.glob("*_masked_0.png")),
        )

    def _training(self) -> CellStep:
        settings, (keys, masked) = self.settings, AGENTS[self.agent]
        words: list[object] = ["rl-train", "--task", settings.task, "--name", self.name]
        words += ["--log-dir", self.output / "runs", "--mvt_cfg_path", settings.network]
        words += ["--mvt_cfg_opts", f"{settings.network_options} {keys}".strip()]
        words += ["--frames", settings.frames, "--action-repeat", settings.action_repeat]
        words += ["--batch", settings.batch, "--seed", self.seed, *settings.training_options]
        if masked:
            words += ["--use_SAM_g", "--references", self._references, *settings.masks]
        return CellStep(
            "train",
            f"training of {self.title}",
            commands.sam2act(*words),
            f"train_{self.name}",
            self._is_trained,
        )

    def _evaluation(self) -> CellStep:
        settings = self.settings
        command = commands.sam2act(
            *("rl-eval", "--model_dir", self.run.folder, "--task", settings.task, "--resume"),
            *("--action-repeat", settings.action_repeat, "--episodes", settings.episodes),
            *("--levels", *settings.levels),
        )
        return CellStep(
            "eval",
            f"evaluation of {self.title}",
            command,
            f"eval_{self.name}",
            lambda: all(self.returns(level) is not None for level in settings.levels),
        )

    def _is_trained(self) -> bool:
        rows = _rows(self.run.folder / "train.csv")
        enough = bool(rows) and float(rows[-1]["frame"]) >= self.settings.frames
        return enough and self.run.last.is_file()


def table(cells: Sequence[OnlineCell]) -> list[list[str]]:
    """A row per agent: its mean return at every level over its seeds, with their spread."""
    levels = cells[0].settings.levels
    rows = []
    for agent in dict.fromkeys(cell.agent for cell in cells):
        own = [cell for cell in cells if cell.agent == agent]
        found = [[cell.returns(level) for cell in own] for level in levels]
        rows.append([agent, *(_mean([v for v in values if v is not None]) for values in found)])
    return rows


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" +- {statistics.stdev(values):.0f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.0f}{spread}"


def _rows(file: Path) -> list[dict[str, str]]:
    """The rows of a table; none if there is no file."""
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        return []
