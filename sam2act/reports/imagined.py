"""The part of the report about frames that a policy imagined, from the files of `sam2act imagine`.

A run folder holds `imagined.json`, squared errors per step of every kind of frame, and
`imagined.png`, some of the frames.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.config.files import read_mapping
from sam2act.core.run_folder import IMAGINED
from sam2act.evaluation.analysis.methods import run_names
from sam2act.evaluation.results import ResultsError
from sam2act.reports.page import Page

COPIED = "copied"
KINDS = {  # as the file calls them -> as people read them
    "imagined": "imagined",
    "with_actions": "imagined, told the actions (forward dynamics)",
    COPIED: "copy of the last frame seen",
    "decoded": "real frame through the autoencoder",
}
RELATIVE = "mean, relative to the copy"


@dataclass(frozen=True)
class Imagined:
    """What one run imagined.

    Attributes:
        name: of the run.
        windows: how many were compared.
        errors: kind of frame -> mean squared error of every step, colours from 0 to 1.
        picture: the PNG.
    """

    name: str
    windows: int
    errors: Mapping[str, Sequence[float]]
    picture: Path

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: the errors of each kind of frame, step by step."""
        copied = self.errors[COPIED]
        header = ["frames", *(f"step {n + 1}" for n in range(len(copied))), RELATIVE]
        rows = []
        for kind, label in KINDS.items():
            if kind in self.errors:
                values = self.errors[kind]
                share = f"{sum(values) / sum(copied):.2f}" if sum(copied) else "-"
                rows.append([label, *(f"{value:.5f}" for value in values), share])
        return header, rows


def read_imagined(runs: Sequence[Path]) -> list[Imagined]:
    """What the runs imagined; runs without these files have no part in it.

    Raises:
        ResultsError: a file cannot be read.
    """
    names = run_names(runs)
    found = []
    for run in runs:
        path = run / f"{IMAGINED}.json"
        if path.is_file() and path.with_suffix(".png").is_file():
            found.append(_read(path, names[run]))
    return found


def _read(path: Path, name: str) -> Imagined:
    content = read_mapping(path)
    try:
        errors = {
            str(kind): [float(value) for value in values]
            for kind, values in content["squared_error"].items()
        }
        if any(len(values) != len(errors[COPIED]) for values in errors.values()):
            raise ValueError
        return Imagined(name, int(content["windows"]), errors, path.with_suffix(".png"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(
            f"{path}: is not what sam2act imagine writes; remove it or imagine again"
        ) from error


def add_imagined(page: Page, imagined: Sequence[Imagined]) -> None:
    """The errors of every run that imagined frames; nothing without one."""
    if not imagined:
        return
    page.heading("Imagined and real frames")
    for one in imagined:
        page.subheading(one.name)
        page.table(*one.table())
    page.text(
        "Mean squared error of colours from 0 to 1 over windows of held-out episodes ("
        + ", ".join(str(one.windows) for one in imagined)
        + "); the steps lie as far apart as the frames that the policy sees. Below 1 relative to "
        "the copy of the last frame, a frame was foreseen. Some of the frames stand beside the "
        "films."
    )


def show_imagined(page: Page, imagined: Sequence[Imagined]) -> None:
    """Pictures of the frames."""
    for one in imagined:
        rows = "real, imagined" + ", told the actions" * ("with_actions" in one.errors)
        uri = f"data:image/png;base64,{base64.b64encode(one.picture.read_bytes()).decode()}"
        caption = f"{one.name}: the last frame seen and the next four; in turn {rows}."
        page.picture(uri, caption, f"frames that {one.name} imagined")
