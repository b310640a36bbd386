"""The cells of a comparison, the commands that each is made of, and what of them lies on disk.

OUTPUT/data_64px_seed0/train/TASK/      demonstrations     OUTPUT/store_64px_seed0/  their store
OUTPUT/data_64px_all_seed0/train/TASK/  the same with images of every frame
OUTPUT/runs/PRESET/TASK_seed0/          run folder of a training, with its evaluations
OUTPUT/cells/PRESET_TASK_seed0.json     how its commands ended     OUTPUT/logs/  what they said
OUTPUT/cells/PRESET@EXECUTOR_TASK_seed0.json     evaluations with an executor of choice
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from sam2act.core.run_folder import RunFolder
from sam2act.data.rlbench.demo_folders import episodes_below, episodes_in
from sam2act.evaluation.latency import LATENCY_FILE
from sam2act.evaluation.results import read_rows
from sam2act.experiments import commands
from sam2act.experiments.presets import Preset

LOG_NAME = "compare"  # of evaluations
COMPLETE, PARTIAL, MISSING = "complete", "partial", "missing"
LOG_EVERY = 5  # updates
DEMO_LENGTHS = 1.5  # most frames of an episode, in lengths of the longest demonstration


@dataclass(frozen=True)
class Settings:
    """What all cells share.

    Attributes:
        output: folder of everything, absolute.
        demos: per task.
        image_size: pixels per side of the cameras, where the preset does not say it.
        episodes: per evaluation.
        episode_length: most keyframes of an episode; presets of frames have `DEMO_LENGTHS`.
        experiment_options: of all trainings, as `key value key value`.
        second_stage_options: more of them, for second stages.
        network_options: the same of networks.
        workers: simulator processes.
        device: of training and evaluation.
    """

    output: Path
    demos: int = 100
    image_size: int = 64
    episodes: int = 25
    episode_length: int = 25
    experiment_options: str = ""
    second_stage_options: str = ""
    network_options: str = ""
    workers: int = 2
    device: str = "0"

    def identity(self) -> dict[str, Any]:
        """What must stay equal in a folder; the rest may grow or changes no result."""
        values = asdict(self)
        for name in ("output", "episodes", "workers", "device"):
            del values[name]
        return values


@dataclass(frozen=True)
class CellStep:
    """A command of a cell.

    Attributes:
        kind: `demos`, `train`, `train-plus` or `eval`.
        title: in words.
        command: its words.
        lock: name of what it makes; cells may share it.
        is_done: whether that lies on disk, whole.
    """

    kind: str
    title: str
    command: commands.Command
    lock: str
    is_done: Callable[[], bool]


class Runnable(Protocol):
    """What `run.CellRunner` needs of a cell: a list of commands, and which of them are done."""

    @property
    def title(self) -> str:
        """As it is printed."""
        ...

    @property
    def group(self) -> tuple[str, ...]:
        """Cells of the same group take about as long; of the same beginning, roughly."""
        ...

    @property
    def output(self) -> Path:
        """Folder of the experiment."""
        ...

    @property
    def record(self) -> Path:
        """The file that says how its commands ended."""
        ...

    @property
    def log(self) -> Path:
        """What its commands printed."""
        ...

    def state(self) -> str:
        """`complete`, `partial` or `missing`."""
        ...

    def open_steps(self) -> list[CellStep]:
        """The commands that are missing."""
        ...


@dataclass(frozen=True)
class Cell:
    """One preset on one task with one seed of demonstrations, training and evaluation.

    Cells of presets that differ in the executor alone share demonstrations and training.
    """

    preset: Preset
    task: str
    seed: int
    settings: Settings

    @property
    def name(self) -> str:
        """As in names of files."""
        return f"{self.preset.name}{self.preset.mark}_{self.task}_seed{self.seed}"

    @property
    def title(self) -> str:
        """As it is printed."""
        return f"{self.preset.label}, {self.task}, seed {self.seed}"

    @property
    def group(self) -> tuple[str, ...]:
        """What tells how long it takes."""
        return self.preset.label, self.task

    @property
    def output(self) -> Path:
        """Folder of the experiment."""
        return self.settings.output

    @property
    def run(self) -> RunFolder:
        """The files of its training."""
        return self._run(self.preset.name, self.preset.stage)

    @property
    def first_run(self) -> RunFolder | None:
        """The files of the training that came before, of a second stage."""
        return self._run(self.preset.first_stage, 1) if self.preset.first_stage else None

    @property
    def results(self) -> Path:
        """The folder of its evaluation."""
        return self.run.evaluations / self._log_name / self.run.last.stem

    @property
    def record(self) -> Path:
        """The file that says how its commands ended."""
        return self.settings.output / "cells" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What its commands printed."""
        return self.settings.output / "logs" / f"{self.name}.log"

    def state(self) -> str:
        """`complete`, `partial` or `missing`."""
        if self._is_evaluated():
            return COMPLETE
        return PARTIAL if self.run.folder.is_dir() else MISSING

    def steps(self) -> list[CellStep]:
        """Its commands in order; each needs what the one before makes."""
        steps = [self._demonstrations()]
        if self.first_run is not None:
            steps.append(self._training(self.preset.first_stage, self.first_run))
        return [*steps, self._training(self.preset.name, self.run), self._evaluation()]

    def open_steps(self) -> list[CellStep]:
        """Those after the last one that is done."""
        steps = self.steps()
        done = [number for number, step in enumerate(steps) if step.is_done()]
        return steps[done[-1] + 1 :] if done else steps

    # ---------------------------------------------------------------------------- its commands
    def _run(self, preset: str, stage: int) -> RunFolder:
        folder = self.settings.output / "runs" / preset
        return RunFolder(folder / f"{self.task}_seed{self.seed}", stage)

    @property
    def _log_name(self) -> str:
        return f"{LOG_NAME}{self.preset.mark}"

    @property
    def _image_size(self) -> int:
        return self.preset.image_size or self.settings.image_size

    @property
    def _images(self) -> str:
        kind = f"_{self.preset.images}" if self.preset.of_frames else ""
        return f"{self._image_size}px{kind}_seed{self.seed}"

    @property
    def _demos(self) -> Path:
        return self.settings.output / f"data_{self._images}" / "train"

    def _demonstrations(self) -> CellStep:
        settings = self.settings
        command = commands.demonstrations(
            self._demos,
            self.task,
            episodes=settings.demos,
            seed=self.seed,
            image_size=self._image_size,
            workers=settings.workers,
            more=("--images", self.preset.images) if self.preset.of_frames else (),
        )
        folder = self._demos / self.task / episodes_below(self.task)
        return CellStep(
            "demos",
            f"demonstrations of {self.task}, seed {self.seed}",
            command,
            f"demos_{self._images}_{self.task}",
            lambda: len(episodes_in(folder)) >= settings.demos,
        )

    def _training(self, preset: str, run: RunFolder) -> CellStep:
        settings, second = self.settings, run.stage == 2
        store = settings.output / f"store_{self._images}"
        options = (
            f"tasks {self.task} exp_id {self.task} exp_name seed{self.seed} seed {self.seed} "
            f"demo {settings.demos} log_every {LOG_EVERY} wandb False "
            f"image_size {self._image_size} data_folder {_quoted(self._demos.parent)} "
            f"store_folder {_quoted(store)} {settings.experiment_options} "
            f"{settings.second_stage_options if second else ''}"
        )
        more: list[object] = ["--device", settings.device]
        if second and self.first_run is not None:
            more += ["--init-from", self.first_run.last]
        command = commands.training(
            run.stage,
            preset,
            options,
            log_dir=run.folder.parent,
            network_options=settings.network_options,
            task_file=self.preset.task_file(self.task) if preset == self.preset.name else "",
            more=more,
        )
        kind = "train-plus" if second else "train"
        return CellStep(
            kind,
            f"training of {preset} on {self.task}, seed {self.seed}",
            command,
            f"train_{preset}_{self.task}_seed{self.seed}",
            lambda: is_trained(run),
        )

    def _evaluation(self) -> CellStep:
        settings, preset = self.settings, self.preset
        more: list[object] = ["--measure-latency", "--device", settings.device]
        if preset.of_frames:
            more += ["--demo-lengths", DEMO_LENGTHS, "--eval-datafolder", self._demos]
        if preset.executor:
            more += ["--executor", preset.executor]
        command = commands.evaluation(
            self.run.last,
            self.task,
            seed=self.seed,
            episodes=settings.episodes,
            episode_length=None if preset.of_frames else settings.episode_length,
            log_name=self._log_name,
            workers=settings.workers,
            more=more,
        )
        return CellStep(
            "eval",
            f"evaluation of {self.title}",
            command,
            f"eval_{self.name}",
            self._is_evaluated,
        )

    def _is_evaluated(self) -> bool:
        if not (self.results / LATENCY_FILE).is_file():
            return False
        finished = {row.episode for row in read_rows(self.results) if not row.is_lost}
        return finished >= set(range(self.settings.episodes))


def make_cells(
    presets: Sequence[Preset], tasks: Sequence[str], seeds: Sequence[int], settings: Settings
) -> list[Cell]:
    """All cells: presets of a task and seed stand together, all of a seed before the next one."""
    return [
        Cell(preset, task, seed, settings) for seed in seeds for task in tasks for preset in presets
    ]


def is_trained(run: RunFolder) -> bool:
    """Whether a training has done all its updates."""
    try:
        costs = json.loads(run.costs.read_text(encoding="utf-8"))
        return run.last.is_file() and bool(costs["updates"] >= costs["total_updates"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _quoted(path: Path) -> str:
    """A path as a value of options."""
    text = str(path)
    return f"'{text}'" if any(letter.isspace() for letter in text) else text
