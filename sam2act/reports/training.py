"""The part of the report about training: when memory was learned, and the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.config.files import read_mapping
from sam2act.core.registry import DEFAULT_POLICY
from sam2act.core.run_folder import RunFolder
from sam2act.evaluation.analysis.methods import run_names
from sam2act.reports.charts import Points
from sam2act.reports.learning_curves import (
    excess_chart,
    excess_curves,
    hardest_keyframe,
    learned_at,
    loss_charts,
    read_curves,
    settled,
)
from sam2act.reports.page import Page


@dataclass(frozen=True)
class Stage:
    """One of the two trainings of a run folder, as reports call it."""

    number: int
    name: str
    module: str
    preset: str  # of the published configuration

    def folder(self, run: Path) -> RunFolder:
        """The files of this stage in a run folder."""
        return RunFolder(run, self.number)

    def curves(self, run: Path) -> dict[str, list[tuple[float, float]]]:
        """The figures that a run logged."""
        return read_curves(self.metrics(run))

    def policy(self, run: Path) -> str:
        """Which policy this stage trained; empty if it stored no configuration.

        Raises:
            ConfigError: the stored configuration cannot be read.
        """
        network = self.folder(run).network
        return str(read_mapping(network).get("policy", DEFAULT_POLICY)) if network.is_file() else ""

    def title(self, policy: str) -> str:
        """What the stage is called in a run that trains `policy`."""
        return self.name if policy in ("", DEFAULT_POLICY) else f"{policy}, stage {self.number}"

    def metrics(self, run: Path) -> Path:
        """The table of these figures."""
        return self.folder(run).metrics

    def configs(self, run: Path) -> tuple[Path, Path]:
        """The stored configuration of experiment and network."""
        return self.folder(run).experiment, self.folder(run).network


STAGE_ONE = Stage(1, "stage 1 (SAM2Act)", "sam2act.train", "sam2act")
STAGE_TWO = Stage(2, "stage 2 (SAM2Act+)", "sam2act.train_plus", "sam2act_plus")
STAGES = (STAGE_ONE, STAGE_TWO)
ABSENT = "-"


def has_memory_stages(run: Path) -> bool:
    """Whether the two stages of SAM2Act belong to a run, and not those of another policy."""
    return all(stage.policy(run) in ("", DEFAULT_POLICY) for stage in STAGES)


# ----------------------------------------------------------------------------------- curves
def add_training(page: Page, runs: Sequence[Path]) -> None:
    """The moment memory is learned, then all losses, run by run."""
    names = run_names(runs)
    with_memory = [run for run in runs if has_memory_stages(run)]
    if with_memory:
        _add_moments(page, {run: names[run] for run in with_memory}, label=len(runs) > 1)
    page.heading("Training curves")
    for run in runs:
        for stage in STAGES:
            if run in with_memory or stage.policy(run):
                _add_losses(page, run, stage, f"{names[run]}, {stage.title(stage.policy(run))}")


def _add_moments(page: Page, runs: Mapping[Path, str], *, label: bool) -> None:
    """When the memory of each run was learned."""
    page.heading("The moment memory is learned")
    page.text(
        "Excess loss: cross-entropy of the coarse heat maps minus the entropy of their targets, so "
        "0 is perfect. A decision among n places that look equally right stays near log n until "
        "the memory tells them apart."
    )
    for run, name in runs.items():
        if label:
            page.subheading(name)
        _add_excess(page, run)


def _add_excess(page: Page, run: Path) -> None:
    first, second = (excess_curves(stage.curves(run)) for stage in STAGES)
    if not second:
        page.text(
            f"{STAGE_TWO.metrics(run)} has no excess loss per keyframe; python -m "
            f"{STAGE_TWO.module} logs it when it trains a single task."
        )
        return
    strong = hardest_keyframe(second)
    page.text(_moment(strong, second[strong]))
    with page.columns():
        page.markup(f"<figure>{excess_chart(second, strong)}</figure>")
        with page.block():
            page.table(*excess_table(first, second))


def _moment(keyframe: int, points: Points) -> str:
    start, end, update = points[0][1], settled(points), learned_at(points)
    text = f"Keyframe {keyframe} is learned last in stage 2: it needs the memory most. Its excess "
    text += f"loss goes from {start:.2f} to {end:.2f}"
    if update is None:
        return f"{text}; it does not stay below half of its first value."
    return f"{text}; from update {update:g} on it stays below half of its first value."


def excess_table(
    first: Mapping[int, Points], second: Mapping[int, Points]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: excess loss of every keyframe at the end of both stages."""
    header = ["keyframe", "start of stage 2", "end of stage 2"]
    rows = [[str(k), f"{second[k][0][1]:.2f}", f"{settled(second[k]):.2f}"] for k in second]
    if not first:
        return header, rows
    header.insert(1, "end of stage 1")
    for k, row in zip(second, rows, strict=True):
        row.insert(1, f"{settled(first[k]):.2f}" if k in first else ABSENT)
    return header, rows


def _add_losses(page: Page, run: Path, stage: Stage, title: str) -> None:
    charts = loss_charts(stage.curves(run))
    if not charts:
        path = stage.metrics(run)
        page.text(f"No losses of {title}: python -m {stage.module} writes {path}.")
        return
    page.subheading(title)
    with page.columns():
        for caption, chart in charts.items():
            page.markup(f"<figure><figcaption>{caption}</figcaption>{chart}</figure>")
