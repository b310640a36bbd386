"""The cells of the experiment on masks: plain and masked agents on perturbed scenes.

OUTPUT/data_64px_all_seed0/train/TASK/   demonstrations with the simulator's masks
OUTPUT/references/TASK/                  one reference image and mask per object and camera
OUTPUT/masks/simulator_TASK_seed0/       masks of the images of the demonstrations
OUTPUT/runs/simulator/TASK_seed0/        run folder of a training, with one evaluation per factor
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sam2act.core.errors import ConfigError, require_choice
from sam2act.core.run_folder import RunFolder
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.evaluation.results import read_rows
from sam2act.experiments import commands
from sam2act.experiments.cells import (
    COMPLETE,
    MISSING,
    PARTIAL,
    Cell,
    CellStep,
    Settings,
    is_trained,
)
from sam2act.experiments.presets import Preset

PLAIN, SIMULATOR, UNPERTURBED = "plain", "simulator", "none"
# How an agent sees -> keys of the transform `sam_g`.
WAYS = {
    PLAIN: "",
    SIMULATOR: "segmenter='simulator'",
    "grabcut": "segmenter='grabcut',match='contrast'",
    "random_walk": "segmenter='random_walk',match='contrast'",
}
REFERENCE_SEED = 1  # of the scene of the reference images; evaluations begin at 7000
# Task -> the bodies of its objects; of other tasks the one object that `mask-reference` takes.
# Every camera sees the first one; the arm hides the block from the right shoulder.
OBJECTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "put_block_back": (
        ("target1", "target2", "target3", "target4"),
        ("block",),
        ("push_buttons_target1", "target_button_topPlate1", "target_button_wrap1"),
    )
}


@dataclass(frozen=True)
class MaskedCell(Cell):
    """One way to see, on one task with one seed, under every factor.

    Attributes:
        way: one of `WAYS`.
        factors: of the evaluations beside the unperturbed one; names as of `sam2act eval`.
        mode: of the transform.
        films: per evaluation.
    """

    way: str
    factors: tuple[str, ...]
    mode: str = "drop_points"
    films: int = 2

    @property
    def name(self) -> str:
        """As in names of files."""
        return f"{self.way}_{self.task}_seed{self.seed}"

    @property
    def title(self) -> str:
        """As it is printed."""
        return f"{self.way}, {self.task}, seed {self.seed}"

    @property
    def group(self) -> tuple[str, ...]:
        """What tells how long it takes."""
        return self.way, self.task

    @property
    def run(self) -> RunFolder:
        """The files of its training."""
        return RunFolder(self.settings.output / "runs" / self.way / f"{self.task}_seed{self.seed}")

    @property
    def references(self) -> Path:
        """The folder of its reference images."""
        return self.settings.output / "references" / self.task

    @property
    def masks(self) -> Path:
        """The folder of the masks of its demonstrations."""
        return self.settings.output / "masks" / self.name

    @property
    def transform(self) -> str:
        """The text of its transform; empty if it sees everything."""
        if self.way == PLAIN:
            return ""
        stored = "stored:" if self.way == SIMULATOR else ""
        return f"{self.looking[:-1]},masks='{stored}{self.masks}')"

    @property
    def looking(self) -> str:
        """The same without stored masks; of a masked agent."""
        return f"sam_g('{self.references}',{WAYS[self.way]},mode='{self.mode}')"

    def state(self) -> str:
        """`complete`, `partial` or `missing`."""
        if all(self._is_evaluated_under(factor) for factor in self._conditions):
            return COMPLETE
        return PARTIAL if self.run.folder.is_dir() else MISSING

    def steps(self) -> list[CellStep]:
        """Its commands in order; each needs what the one before makes."""
        steps = [self._demonstrations()]
        if self.way != PLAIN:
            steps += [self._reference(number) for number in range(len(self._objects))]
        if self.way == SIMULATOR:
            steps.append(self._masks())
        steps.append(self._masked_training())
        return steps + self._evaluations()

    def open_steps(self) -> list[CellStep]:
        """Those up to the training after the last one that is done, and missing evaluations."""
        missing = [step for step in self._evaluations() if not step.is_done()]
        made = self.steps()[: -len(self._conditions)]
        done = [number for number, step in enumerate(made) if step.is_done()]
        prepared = self.state() == COMPLETE or is_trained(self.run)
        return missing if prepared else [*made[done[-1] + 1 if done else 0 :], *missing]

    # ---------------------------------------------------------------------------- its commands
    @property
    def _conditions(self) -> tuple[str, ...]:
        return (UNPERTURBED, *self.factors)

    @property
    def _objects(self) -> tuple[tuple[str, ...], ...]:
        return OBJECTS.get(self.task, ((),))

    @property
    def _images(self) -> str:
        return f"{self.settings.image_size}px_all_seed{self.seed}"

    def _demonstrations(self) -> CellStep:
        step = super()._demonstrations()
        return replace(step, command=(*step.command, "--images", "all"))

    def _reference(self, number: int) -> CellStep:
        objects, folder = self._objects[number], self.references
        command = commands.sam2act(
            *("mask-reference", "--task", self.task, "--number", number),
            *("--seed", REFERENCE_SEED),
            *("--image-size", self.settings.image_size, "--output", folder),
            *(("--objects", *objects) if objects else ()),
        )
        return CellStep(
            "reference",
            f"reference {number} of {self.task}",
            command,
            f"reference_{self.task}_{number}",
            lambda: any((folder / f"{one}_{number}.png").is_file() for one in POLICY_CAMERAS),
        )

    def _masks(self) -> CellStep:
        summary = self.masks / f"demos_{self.task}.json"
        command = commands.sam2act(
            *("mask-demos", "--data", self._demos.parent, "--tasks", self.task),
            *("--transform", self.transform.replace("stored:", "")),
        )
        return CellStep(
            "masks",
            f"masks of the demonstrations of {self.task}, seed {self.seed}",
            command,
            f"masks_{self.name}",
            lambda: _number(summary, "demos") >= self.settings.demos,
        )

    def _masked_training(self) -> CellStep:
        transforms = f"transforms [{self.transform}]" if self.transform else ""
        options = f"{self.settings.experiment_options} {transforms}"
        changed = replace(self, settings=replace(self.settings, experiment_options=options))
        step = changed._training(self.preset.name, self.run)
        return replace(step, title=f"training of {self.title}", lock=f"train_{self.name}")

    def _evaluations(self) -> list[CellStep]:
        return [self._evaluation_under(factor) for factor in self._conditions]

    def _evaluation_under(self, factor: str) -> CellStep:
        settings = self.settings
        more: list[object] = ["--device", settings.device]
        if self.films:
            more += ["--save-video", self.films]
        if factor != UNPERTURBED:
            more += ["--perturb", factor]
        command = commands.evaluation(
            self.run.last,
            self.task,
            seed=self.seed,
            episodes=settings.episodes,
            episode_length=settings.episode_length,
            log_name=factor,
            workers=settings.workers,
            more=more,
        )
        return CellStep(
            "eval",
            f"evaluation of {self.title}, {factor}",
            command,
            f"eval_{self.name}_{factor}",
            lambda: self._is_evaluated_under(factor),
        )

    def _is_evaluated_under(self, factor: str) -> bool:
        results = self.run.evaluations / factor / self.run.last.stem
        if not results.is_dir() or not is_trained(self.run):
            return False
        finished = {row.episode for row in read_rows(results) if not row.is_lost}
        return finished >= set(range(self.settings.episodes))


def make_masked_cells(
    ways: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    settings: Settings,
    *,
    preset: Preset,
    factors: Sequence[str],
    mode: str = "drop_points",
    films: int = 2,
) -> list[MaskedCell]:
    """All cells: ways of a task and seed stand together, all of a seed before the next one.

    Raises:
        ConfigError: there is no such way, the preset has two stages, or the output has a space in
            its path, which would cut the transform in two.
    """
    for way in ways:
        require_choice("--ways", way, tuple(WAYS))
    if preset.first_stage:
        raise ConfigError(f"--preset {preset.name}: take one of a first stage, such as tiny")
    if any(letter.isspace() for letter in str(settings.output)):
        raise ConfigError(f"--output {settings.output}: the path must not contain spaces")
    return [
        MaskedCell(preset, task, seed, settings, way, tuple(factors), mode, films)
        for seed in seeds
        for task in tasks
        for way in ways
    ]


def _number(file: Path, key: str) -> int:
    """A number of a small file; 0 if there is none."""
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
