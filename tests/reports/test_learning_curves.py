"""Tables of figures become curves; the keyframe that needs memory and its moment are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.reports.charts import PALE, STRONG
from sam2act.reports.learning_curves import (
    MOST_POINTS,
    CurveError,
    excess_chart,
    excess_curves,
    hardest_keyframe,
    learned_at,
    loss_charts,
    read_curves,
    settled,
    thin,
)


def table(folder: Path, text: str) -> Path:
    path = folder / "metrics.csv"
    path.write_text(text)
    return path


# ----------------------------------------------------------------------------------- reading
def test_empty_cells_are_gaps(tmp_path: Path) -> None:
    path = table(tmp_path, "step,total_loss,validation_total_loss\n1,2.5,\n2,,3.5\n3,1.5,\n")
    assert read_curves(path) == {
        "total_loss": [(1.0, 2.5), (3.0, 1.5)],
        "validation_total_loss": [(2.0, 3.5)],
    }


def test_cut_off_last_line_is_left_out(tmp_path: Path) -> None:
    assert read_curves(table(tmp_path, "step,loss\n1,2\n2,1.")) == {"loss": [(1.0, 2.0)]}


def test_absent_file_has_no_curves(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "metrics.csv") == {}


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("step,loss\n1,2\n2,low\n", 3),
        ("update,loss\n1,2\n", 2),
        ("step,loss\n1,2,3\n", 2),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, text: str, row: int) -> None:
    with pytest.raises(CurveError, match=rf"metrics\.csv, row {row}: "):
        read_curves(table(tmp_path, text))


def test_binary_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\n")
    with pytest.raises(CurveError, match=r"metrics\.csv is not a table"):
        read_curves(tmp_path / "metrics.csv")


# ------------------------------------------------------------------------------------ memory
def test_keyframes_are_sorted_by_number() -> None:
    names = ("excess_keyframe_10", "excess_keyframe_2", "validation_excess_keyframe_1", "loss")
    assert list(excess_curves({name: [(0, 1.0)] for name in names})) == [2, 10]


def test_end_of_a_curve_is_the_mean_of_its_last_tenth() -> None:
    assert settled([(x, float(x)) for x in range(40)]) == 37.5
    assert settled([(0, 1.0), (1, 5.0)]) == 5.0


def test_hardest_keyframe_is_the_one_learned_last() -> None:
    second = {
        1: [(0, 1.2), (1, 0.1), (2, 0.1), (3, 0.1)],  # unfinished in stage 1, falls at once
        2: [(0, 1.0), (1, 0.9), (2, 0.2), (3, 0.1)],
        3: [(0, 0.2), (1, 0.2), (2, 5.0), (3, 5.0)],  # the second half does not count
    }
    assert hardest_keyframe(second) == 2
    assert hardest_keyframe({4: [(0, 1.0)]}) == 4


@pytest.mark.parametrize(
    ("values", "update"),
    [
        ([1.0, 0.9, 0.4, 0.1], 20.0),
        ([1.0, 0.4, 0.9, 0.4], 30.0),  # an earlier dip does not count
        ([1.0, 0.4, 0.4, 0.6], None),
        ([1.0], None),
    ],
)
def test_moment_is_when_the_loss_stays_below_half(values: list[float], update) -> None:
    assert learned_at([(10.0 * i, value) for i, value in enumerate(values)]) == update


def test_one_keyframe_stands_out() -> None:
    chart = excess_chart({k: [(0, 1.0 + k), (1, 0.5)] for k in range(11)}, 9)
    assert chart.count(f'stroke="{STRONG}"') == 1 and chart.count(f'stroke="{PALE}"') == 10
    assert chart.rindex(f'stroke="{STRONG}"') > chart.rindex(f'stroke="{PALE}"')  # on top
    assert ">keyframe 9<" in chart and ">10 other keyframes<" in chart
    assert ">keyframe 8<" not in chart


# ------------------------------------------------------------------------------------ losses
def test_losses_are_drawn_where_they_exist() -> None:
    curves = {name: [(0, 1.0), (1, 0.5)] for name in ("total_loss", "grip_loss")}
    curves["trans_loss"] = [(0, 0.5), (1, 0.2)]
    charts = loss_charts(curves)
    assert [chart.count("<polyline") for chart in charts.values()] == [2, 1]
    assert loss_charts({"lr": [(0, 1.0)]}) == {}


def test_loss_that_is_the_total_is_drawn_once() -> None:
    curves = {name: [(0, 1.0), (1, 0.5)] for name in ("total_loss", "trans_loss")}
    (chart,) = loss_charts(curves).values()
    assert chart.count("<polyline") == 1 and ">total<" in chart


def test_long_curves_become_means() -> None:
    points = [(float(x), float(x % 2)) for x in range(4 * MOST_POINTS)]
    short = thin(points)
    assert len(short) == MOST_POINTS and short[0] == (1.5, 0.5)
    assert thin(points[:MOST_POINTS]) == points[:MOST_POINTS]
    assert len(thin(points[: MOST_POINTS + 1])) == MOST_POINTS // 2 + 1
