"""What the cells of a comparison found, read from their files."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sam2act.core.run_folder import RunFolder
from sam2act.evaluation.analysis.aggregate import Success, average_tasks, summarise_tasks
from sam2act.evaluation.analysis.methods import Evaluation, Method, read_evaluation
from sam2act.evaluation.analysis.paired import PairKey, pair_keys
from sam2act.evaluation.latency import read_latency
from sam2act.evaluation.results import EpisodeRow, read_acting
from sam2act.experiments.cells import Cell


@dataclass(frozen=True)
class CostSummary:
    """What a preset costs; None where no cell knows it.

    Attributes:
        parameters: of the policy.
        trained: parameters that the optimiser moved, in the last stage.
        samples_per_second: of the training of the last stage, median of its log over all cells.
        training_seconds: of one cell, earlier stages included, mean.
        peak_memory_bytes: of the trainings, the largest.
        memory_of: `gpu` or `process`.
        latency: seconds of a forward pass, median over the cells.
        device: on which it was trained.
        steps: of an episode, like all that follows the mean over all episodes.
        forward_passes: predictions of the policy in an episode.
        policy_seconds: wall time of the policy in an episode.
        simulator_seconds: wall time of the simulator in an episode.
    """

    parameters: int | None = None
    trained: int | None = None
    samples_per_second: float | None = None
    training_seconds: float | None = None
    peak_memory_bytes: int | None = None
    memory_of: str = ""
    latency: float | None = None
    device: str = ""
    steps: float | None = None
    forward_passes: float | None = None
    policy_seconds: float | None = None
    simulator_seconds: float | None = None


@dataclass(frozen=True)
class PresetResults:
    """The evaluated cells of a preset.

    Attributes:
        name: of the preset, with its executor if one was chosen.
        cells: those with finished episodes, with their evaluation.
        costs: of all of them together.
    """

    name: str
    cells: tuple[tuple[Cell, Evaluation], ...]
    costs: CostSummary

    @property
    def method(self) -> Method:
        """Its evaluations as the reports know them."""
        evaluations = tuple(evaluation for _, evaluation in self.cells)
        return Method(self.name, evaluations[0].kind, evaluations)

    @property
    def runs(self) -> list[list[EpisodeRow]]:
        """The episodes of all tasks by seed."""
        by_seed: dict[int, list[EpisodeRow]] = {}
        for cell, evaluation in self.cells:
            by_seed.setdefault(cell.seed, []).extend(evaluation.rows)
        return list(by_seed.values())

    @property
    def tasks(self) -> dict[str, Success]:
        """Success by task, over all seeds."""
        return summarise_tasks(self.runs)

    @property
    def mean(self) -> Success:
        """Success averaged over its tasks."""
        return average_tasks(self.runs)

    def pairs(self, task: str = "") -> dict[PairKey, EpisodeRow]:
        """Its episodes by what makes those of others equal; of one task or of all."""
        found: dict[PairKey, EpisodeRow] = {}
        for cell, evaluation in self.cells:
            if task in ("", cell.task):
                found |= pair_keys(cell.seed, evaluation.rows)
        return found


def read_results(cells: Sequence[Cell]) -> list[PresetResults]:
    """Presets with at least one finished episode, in the order of their first cells.

    Raises:
        ResultsError: a file cannot be read.
    """
    by_preset: dict[str, list[tuple[Cell, Evaluation]]] = {}
    for cell in cells:
        evaluation = _evaluation(cell)
        if evaluation is not None:
            by_preset.setdefault(cell.preset.label, []).append((cell, evaluation))
    return [PresetResults(name, tuple(found), _costs(found)) for name, found in by_preset.items()]


def _evaluation(cell: Cell) -> Evaluation | None:
    """The evaluation of a cell; None without a finished episode."""
    found = read_evaluation(cell.run.folder, cell.results)
    return found if found.rows else None


def _costs(evaluated: Sequence[tuple[Cell, Evaluation]]) -> CostSummary:
    cells = [cell for cell, _ in evaluated]
    latencies = [found.seconds for cell in cells if (found := read_latency(cell.results))]
    rows = [row for _, found in evaluated for row in found.rows if not row.is_lost]
    acting = [found for cell in cells for found in read_acting(cell.results).values()]
    return replace(
        _training_costs(cells),
        latency=statistics.median(latencies) if latencies else None,
        steps=_mean(row.steps for row in rows),
        forward_passes=_mean(found.forward_passes for found in acting),
        policy_seconds=_mean(found.policy_seconds for found in acting),
        simulator_seconds=_mean(found.simulator_seconds for found in acting),
    )


def _mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    values = list(values)
    return statistics.fmean(values) if values else None


def _training_costs(cells: Sequence[Cell]) -> CostSummary:
    stored = [_read(cell.run) for cell in cells]
    known = [costs for costs in stored if costs]
    rates = [rate for cell in cells for rate in _samples_per_second(cell.run)]
    if not known:
        return CostSummary()
    return CostSummary(
        parameters=known[0]["parameters"],
        trained=known[0]["trained_parameters"],
        samples_per_second=statistics.median(rates) if rates else None,
        training_seconds=statistics.fmean(map(_training_seconds, cells)),
        peak_memory_bytes=max(map(_peak, cells)),
        memory_of=known[0]["memory_of"],
        device=known[0]["device"],
    )


def _stages(cell: Cell) -> list[RunFolder]:
    return [run for run in (cell.first_run, cell.run) if run is not None]


def _training_seconds(cell: Cell) -> float:
    return sum(float(_read(run).get("seconds", 0)) for run in _stages(cell))


def _peak(cell: Cell) -> int:
    return max(int(_read(run).get("peak_memory_bytes", 0)) for run in _stages(cell))


def _read(run: RunFolder) -> dict[str, Any]:
    """The costs of a training; empty if they are unknown."""
    try:
        return dict(json.loads(run.costs.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _samples_per_second(run: RunFolder) -> list[float]:
    """The rates that a training logged."""
    try:
        with open(run.metrics, newline="", encoding="utf-8") as stream:
            found = [row.get("samples_per_second") for row in csv.DictReader(stream)]
    except OSError:
        return []
    return [float(value) for value in found if value]
