"""Curves of a training run from its table of figures, and what they say about the memory."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Mapping
from pathlib import Path

from sam2act.core.errors import UserError
from sam2act.reports.charts import Points, line_chart

STEP = "step"
EXCESS = re.compile(r"excess_keyframe_(\d+)")
KEYFRAME = re.compile(r"_keyframe_\d+$")  # end of the columns of single keyframes
MOST_POINTS = 500  # of a drawn curve; a page with more becomes slow
SETTLED_PART = 10  # the last tenth of a curve tells where it ended
CHART_WIDTH, CHART_HEIGHT = 430, 290  # small enough that text stays readable on a phone
TOTAL_LOSSES = {
    "total_loss": "total",
    "validation_total_loss": "total, held out",
    "trans_loss": "heat maps",
    "validation_trans_loss": "heat maps, held out",
}
HELD_OUT = "validation_"
# Columns that are no losses.
OTHER_FIGURES = ("lr", "samples_per_second", "gradient_norm")
ACTION_LOSSES = {
    **{f"rot_loss_{axis}": f"rotation {axis}" for axis in "xyz"},
    "grip_loss": "gripper",
    "collision_loss": "collision",
}


class CurveError(UserError):
    """A table of figures cannot be read; the message names file and row."""


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The columns of a `metrics*.csv` as curves over updates; empty without the file.

    Cells may be empty; a last line that was cut off while being written is left out.

    Raises:
        CurveError: a cell is no number, or there is no column of updates.
    """
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CurveError(f"{path} is not a table: {error}; move it away") from error
    curves: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            step = float(row[STEP])
            values = {k: float(v) for k, v in row.items() if v and k != STEP}
        except (KeyError, TypeError, ValueError) as error:
            raise CurveError(
                f"{path}, row {number}: not a row of figures with a column '{STEP}' ({error}); "
                "remove that row or move the file away"
            ) from error
        for name, value in values.items():
            curves.setdefault(name, []).append((step, value))
    return curves


def excess_curves(curves: Mapping[str, Points]) -> dict[int, Points]:
    """The excess loss of the coarse heat maps by keyframe index, in increasing order."""
    found = {int(m[1]): points for name, points in curves.items() if (m := EXCESS.fullmatch(name))}
    return dict(sorted(found.items()))


def settled(points: Points) -> float:
    """Mean over the last tenth of a curve."""
    return statistics.fmean(y for _, y in points[-max(1, len(points) // SETTLED_PART) :])


def hardest_keyframe(stage_two: Mapping[int, Points]) -> int:
    """The keyframe that the memory learns last: the largest mean over the first half of stage 2.

    Not the largest value before: what stage 1 has not finished is often larger, and falls at once.

    Raises:
        ValueError: `stage_two` is empty.
    """
    means = {
        k: statistics.fmean(y for _, y in points[: (len(points) + 1) // 2])
        for k, points in stage_two.items()
    }
    return max(means, key=lambda k: means[k])


def learned_at(points: Points) -> float | None:
    """The update from which a curve stays below half of its first value, None if it does not."""
    half = points[0][1] / 2
    above = [index for index, (_, y) in enumerate(points) if not y < half]
    return points[above[-1] + 1][0] if above[-1] + 1 < len(points) else None


def thin(points: Points) -> Points:
    """The curve itself, or the means of at most 500 equal parts of a longer one."""
    size = -(-len(points) // MOST_POINTS)
    if size <= 1:
        return points
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        (statistics.fmean(x for x, _ in part), statistics.fmean(y for _, y in part))
        for part in parts
    ]


def excess_chart(curves: Mapping[int, Points], strong: int) -> str:
    """A chart of all keyframes, one of them in a strong colour."""
    names = {index: f"keyframe {index}" for index in curves}
    return line_chart(
        {names[index]: thin(points) for index, points in curves.items()},
        x_label="updates of stage 2",
        y_label="excess loss",
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
        legend_below=True,
        highlight=(names[strong], f"{len(curves) - 1} other keyframes"),
    )


def loss_charts(curves: Mapping[str, Points]) -> dict[str, str]:
    """Charts by caption: the losses together, those of rotation, gripper and collision, and the
    terms of other policies."""
    if curves.get("trans_loss") == curves.get("total_loss"):  # stage 2 has no other loss
        curves = {k: v for k, v in curves.items() if not k.endswith("trans_loss")}
    charts = {}
    known = {*TOTAL_LOSSES, *ACTION_LOSSES, *(HELD_OUT + name for name in ACTION_LOSSES)}
    terms = {name: _title(name) for name in curves if _is_term(name) and name not in known}
    for caption, names, log_y in (
        ("Losses", TOTAL_LOSSES, False),
        ("Rotation, gripper and collision losses (logarithmic)", ACTION_LOSSES, True),
        ("Terms of the loss", terms, False),
    ):
        series = {title: thin(curves[name]) for name, title in names.items() if name in curves}
        if series:
            charts[caption] = line_chart(
                series,
                x_label="updates",
                y_label="loss",
                width=CHART_WIDTH,
                height=CHART_HEIGHT,
                log_y=log_y,
                legend_below=True,
            )
    return charts


def _is_term(name: str) -> bool:
    """Whether a column is a term of some policy's loss."""
    plain = name.removeprefix(HELD_OUT)
    return plain not in OTHER_FIGURES and KEYFRAME.search(plain) is None


def _title(name: str) -> str:
    plain = name.removeprefix(HELD_OUT).replace("_", " ")
    return f"{plain}, held out" if name.startswith(HELD_OUT) else plain
