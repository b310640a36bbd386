"""The evaluations of run folders, grouped into the methods that a report compares.

A run folder holds `eval/<log name>/<checkpoint stem>/` with the files of `results.py`. Log names
that differ only in a number at their end (test/1, test/2) are repetitions of one evaluation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam2act.core.files import natural_order
from sam2act.core.registry import DEFAULT_POLICY
from sam2act.core.run_folder import STAGES, RunFolder, stage_of
from sam2act.data.rlbench.demo_folders import lies_hidden
from sam2act.evaluation.analysis.first_guesses import Guesses, count_guesses, pooled
from sam2act.evaluation.results import (
    DESCRIPTION_FILE,
    FORMAT,
    EpisodeRow,
    ResultsError,
    read_description,
    read_rows,
    read_targets,
)

STAGE_ONE, PLUS, GROUND_TRUTH = "SAM2Act", "SAM2Act+", "ground truth"
KINDS = (STAGE_ONE, PLUS, GROUND_TRUTH)  # others are called by the name of their policy
GROUND_TRUTH_STEM = "ground_truth"


@dataclass(frozen=True)
class Source:
    """A run folder and the label that the user gave it ("": none)."""

    folder: Path
    label: str = ""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one checkpoint.

    Attributes:
        run: run folder.
        log_name: folders between `eval` and the checkpoint, joined by slashes.
        stem: name of the checkpoint without suffix, or `ground_truth`.
        folder: where the rows lie; paths of videos are relative to it.
        rows: finished episodes.
        description: content of `evaluation.json`; empty if the file is absent.
        guesses: first guesses by task, where the task has them and its targets were stored.
    """

    run: Path
    log_name: str
    stem: str
    folder: Path
    rows: tuple[EpisodeRow, ...]
    description: Mapping[str, Any]
    guesses: Mapping[str, Guesses] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What was evaluated: one of `KINDS`, or the name of another policy."""
        if self.stem == GROUND_TRUTH_STEM:
            return GROUND_TRUTH
        checkpoint = self.section("checkpoint")
        policy = checkpoint.get("policy", DEFAULT_POLICY)
        if policy != DEFAULT_POLICY:
            return str(policy)
        stage = stage_of(Path(self.stem), {"extra": checkpoint})
        return PLUS if stage == 2 else STAGE_ONE

    @property
    def series(self) -> str:
        """The log name without the number that tells repetitions apart."""
        return re.sub(r"(^|/)\d+$", "", self.log_name)

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the description, empty if it is absent."""
        value = self.description.get(name)
        return value if isinstance(value, Mapping) else {}

    @property
    def perturbation(self) -> str:
        """How its scenes were perturbed, in words; empty if they were not."""
        return ", ".join(self.section("settings").get("perturb") or [])

    @property
    def progress(self) -> tuple[int, int]:
        """Episodes that are finished and that were asked for; (0, 0) without a description."""
        tasks = self.section("settings").get("tasks") or []
        each = self.section("settings").get("eval_episodes") or 0
        finished = Counter(row.task for row in self.rows)
        wanted = each * len(tasks) - len(self.section("skipped"))
        return sum(min(finished[task], each) for task in tasks), wanted


@dataclass(frozen=True)
class Method:
    """Evaluations whose episodes count together."""

    label: str
    kind: str
    evaluations: tuple[Evaluation, ...]

    @property
    def rows(self) -> list[EpisodeRow]:
        """All episodes."""
        return [row for evaluation in self.evaluations for row in evaluation.rows]

    @property
    def perturbation(self) -> str:
        """How the scenes were perturbed, equal for all evaluations; empty if they were not."""
        return self.evaluations[0].perturbation

    @property
    def checkpoints(self) -> set[tuple[Path, str, Any]]:
        """What was evaluated: run folder, name and hash of every checkpoint."""
        return {(e.run, e.stem, e.section("checkpoint").get("sha256")) for e in self.evaluations}

    def acting_factors(self, task: str) -> list[str] | None:
        """The perturbations that changed something in `task`; None if that was not recorded."""
        values = self.values("perturbed", task)
        return list(values[0]) if values else None

    @property
    def pools_trainings(self) -> bool:
        """Whether the episodes are of several training runs."""
        return len({evaluation.run for evaluation in self.evaluations}) > 1

    @property
    def runs(self) -> list[list[EpisodeRow]]:
        """The repetitions: training runs if there are several, else evaluations of the same one.

        Repeated evaluations of one of several trainings count as one, since a spread over a
        mixture of both would mean neither.
        """
        if not self.pools_trainings:
            return [list(evaluation.rows) for evaluation in self.evaluations]
        by_run: dict[Path, list[EpisodeRow]] = {}
        for evaluation in self.evaluations:
            by_run.setdefault(evaluation.run, []).extend(evaluation.rows)
        return list(by_run.values())

    def values(self, section: str, key: str) -> list[Any]:
        """The different values of a key of `evaluation.json` that are not None."""
        found = [evaluation.section(section).get(key) for evaluation in self.evaluations]
        return [v for i, v in enumerate(found) if v is not None and v not in found[:i]]

    def chance(self, task: str) -> float | None:
        """Success rate of guessing what cannot be seen, None if unknown."""
        values = self.values("chance", task)
        return float(values[0]) if values and isinstance(values[0], (int, float)) else None

    def guesses(self, task: str) -> Guesses | None:
        """First guesses in a task, None if it has none or they are not known."""
        return pooled([e.guesses[task] for e in self.evaluations if task in e.guesses])


# ----------------------------------------------------------------------------------- reading
def find_evaluations(run: Path) -> list[Evaluation]:
    """All evaluations with finished episodes below a run folder, repetitions in their order.

    Raises:
        ResultsError: there is no such folder, no finished episode, or a file cannot be read.
    """
    if not run.is_dir():
        raise ResultsError(f"{run}: no such run folder")
    tables = RunFolder(run).evaluations.rglob("episodes*.csv")
    folders = {path.parent for path in tables if not lies_hidden(path, run)}
    found = [read_evaluation(run, folder) for folder in sorted(folders, key=natural_order)]
    finished = [evaluation for evaluation in found if evaluation.rows]
    if not finished:
        where = (
            str(RunFolder(run).evaluations) if not folders else ", ".join(map(str, sorted(folders)))
        )
        raise ResultsError(
            f"{where}: no finished episode; evaluate a checkpoint of the run first: "
            f"{evaluation_command(run)}"
        )
    return finished


def evaluation_command(run: Path, options: str = "") -> str:
    """The command that evaluates the run, with the checkpoint it holds."""
    last = (RunFolder(run, stage).last for stage in reversed(STAGES))
    name = next((path.name for path in last if path.is_file()), "FILE.pth")
    command = f"python -m sam2act.eval --model-folder {run} --model-name {name}"
    return f"{command} {options}".rstrip()


def read_evaluation(run: Path, folder: Path) -> Evaluation:
    """The evaluation in one folder of results below a run folder; its rows may be none.

    Raises:
        ResultsError: a file cannot be read.
    """
    *log_name, stem = folder.relative_to(RunFolder(run).evaluations).parts or ("",)
    rows = read_rows(folder)
    description = read_description(folder) if (folder / DESCRIPTION_FILE).is_file() else {}
    stored = description.get("format", FORMAT)
    if stored != FORMAT:
        raise ResultsError(
            f"{folder / DESCRIPTION_FILE}: format {stored!r}, this version reads {FORMAT}; use the "
            "version that wrote it, or evaluate again"
        )
    guesses = count_guesses(rows, read_targets(folder))
    return Evaluation(run, "/".join(log_name), stem, folder, tuple(rows), description, guesses)


# ---------------------------------------------------------------------------------- grouping
def collect_methods(sources: Sequence[Source], *, pool: bool = False) -> list[Method]:
    """The methods of some run folders, in the order of the folders, memory after no memory.

    Labels are those of the user, else "SAM2Act", "SAM2Act+" or "ground truth"; equal labels are
    pooled. What a label would mix is told apart by an addition: the kind of checkpoint, the run
    where several have no label, the log name or the checkpoint where a run holds several, and
    the perturbation of the scenes.

    Args:
        sources: run folders.
        pool: runs without label are repetitions with other training seeds.

    Raises:
        ResultsError: see `find_evaluations`; or a folder is given twice.
    """
    folders = [source.folder.resolve() for source in sources]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ResultsError(f"{folder} is given twice; its episodes would count twice")
    found = [(source, e) for source in sources for e in find_evaluations(source.folder)]
    unlabelled = [source.folder for source in sources if not source.label]
    names = run_names(unlabelled) if len(unlabelled) > 1 and not pool else {}
    kinds: dict[str, set[str]] = {}
    for source, evaluation in found:
        kinds.setdefault(source.label, set()).add(evaluation.kind)
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for source, evaluation in found:
        label = _base_label(source, evaluation.kind, kinds[source.label], names)
        groups.setdefault((label, evaluation.kind), []).append(evaluation)
    methods = [method for key, group in groups.items() for method in _split(*key, group)]
    order = list(dict.fromkeys(source.folder for source in sources))
    return sorted(methods, key=lambda m: (order.index(m.evaluations[0].run), _place(m.kind)))


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def run_names(folders: Iterable[Path]) -> dict[Path, str]:
    """A short name for every run folder: the last part of its path, if that is unique."""
    folders = list(folders)
    short = {folder: folder.resolve().name for folder in folders}
    unique = len(set(short.values())) == len(short)
    return short if unique else {folder: str(folder) for folder in folders}


def _base_label(source: Source, kind: str, kinds: set[str], names: Mapping[Path, str]) -> str:
    if source.label:
        return source.label if len(kinds) == 1 else f"{source.label}: {kind}"
    return f"{kind} ({names[source.folder]})" if names else kind


def _split(label: str, kind: str, evaluations: Sequence[Evaluation]) -> list[Method]:
    """One method, or several if a run holds different evaluations or checkpoints."""
    runs = {evaluation.run for evaluation in evaluations}
    several_series = any(len({e.series for e in evaluations if e.run == run}) > 1 for run in runs)
    several_stems = any(
        len({e.stem for e in evaluations if (e.run, e.series) == key}) > 1
        for key in {(e.run, e.series) for e in evaluations}
    )
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        parts = [label]
        parts += [evaluation.series or "eval"] if several_series else []
        parts += [evaluation.stem] if several_stems else []
        parts += [evaluation.perturbation] if evaluation.perturbation else []
        groups.setdefault(", ".join(parts), []).append(evaluation)
    return [Method(name, kind, tuple(group)) for name, group in groups.items()]
