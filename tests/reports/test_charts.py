"""Line charts: positions of points, gaps, scales, escaping."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from sam2act.reports.charts import (
    LEGEND_ROW,
    MARGIN_BOTTOM,
    MARGIN_LEFT,
    MARGIN_RIGHT,
    MARGIN_TOP,
    NARROW_MARGIN_RIGHT,
    PALE,
    STRONG,
    line_chart,
    standalone,
)

WIDTH, HEIGHT = 400, 200
LEFT, RIGHT = MARGIN_LEFT, WIDTH - MARGIN_RIGHT
TOP, BOTTOM = MARGIN_TOP, HEIGHT - MARGIN_BOTTOM


def chart(series, **options) -> ElementTree.Element:
    """The chart, parsed; fails if it is not well-formed."""
    labels = {"x_label": "updates", "y_label": "loss"} | options
    return ElementTree.fromstring(line_chart(series, width=WIDTH, height=HEIGHT, **labels))


def curves(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """Pixel positions of every curve."""
    return [
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in root.iter("polyline")
    ]


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter("text")]


def test_extremes_touch_the_frame() -> None:
    (points,) = curves(chart({"a": [(10, 0.0), (20, 5.0), (30, 10.0)]}))
    middle = ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)
    assert points == [(LEFT, BOTTOM), pytest.approx(middle), (RIGHT, TOP)]


def test_linear_axis_starts_at_zero() -> None:
    (points,) = curves(chart({"a": [(0, 5.0), (1, 10.0)]}))
    assert points[0] == (LEFT, pytest.approx((TOP + BOTTOM) / 2))


def test_curves_share_the_axes_and_differ_in_color() -> None:
    root = chart({"a": [(0, 0.0), (10, 4.0)], "b": [(5, 2.0), (10, 2.0)]})
    first, second = curves(root)
    assert second[0] == pytest.approx(((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2))
    colors = [line.attrib["stroke"] for line in root.iter("polyline")]
    assert len(set(colors)) == 2
    assert [box.attrib["fill"] for box in root.iter("rect")] == colors
    assert {"a", "b", "updates", "loss"} <= set(texts(root))


def test_non_finite_points_are_left_out() -> None:
    nan, inf = math.nan, math.inf
    (points,) = curves(chart({"a": [(0, 1.0), (1, nan), (2, inf), (3, -inf), (4, 2.0)]}))
    assert [x for x, _ in points] == [LEFT, RIGHT]


def test_logarithmic_axis() -> None:
    (points,) = curves(
        chart({"a": [(0, 0.01), (1, 1.0), (2, 0.0), (3, -1.0), (4, 0.1)]}, log_y=True)
    )
    assert len(points) == 3  # zero and below have no logarithm
    assert [y for _, y in points] == pytest.approx([BOTTOM, TOP, (TOP + BOTTOM) / 2])
    labels = texts(chart({"a": [(0, 0.01), (1, 1.0)]}, log_y=True))
    assert {"0.01", "0.1", "1"} <= set(labels)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
@pytest.mark.parametrize("log_y", [False, True])
def test_constant_curve_is_drawn_inside_the_frame(value: float, log_y: bool) -> None:
    if log_y and value <= 0:
        assert (
            line_chart({"a": [(0, value)]}, x_label="", y_label="", log_y=True) == "<p>no data</p>"
        )
        return
    (points,) = curves(chart({"a": [(0, value), (1, value)]}, log_y=log_y))
    assert len({y for _, y in points}) == 1
    assert all(TOP <= y <= BOTTOM for _, y in points)


def test_single_point_and_huge_ranges_are_drawn() -> None:
    (points,) = curves(chart({"a": [(7, 3.0)]}))
    assert points == [(pytest.approx((LEFT + RIGHT) / 2), TOP)]
    (points,) = curves(chart({"a": [(0, 1e-9), (1e9, 1e12)]}))
    assert points[-1] == (RIGHT, TOP)


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0, math.nan)]}])
def test_nothing_to_draw(series) -> None:
    assert line_chart(series, x_label="x", y_label="y") == "<p>no data</p>"


def test_empty_curves_have_no_legend() -> None:
    root = chart({"full": [(0, 1.0), (1, 2.0)], "empty": []})
    assert "empty" not in texts(root) and len(curves(root)) == 1


def test_names_are_escaped() -> None:
    root = chart({"<b>&": [(0, 1.0), (1, 2.0)]}, x_label='"<x>"', y_label='"<y>"')
    assert {"<b>&", '"<x>"', '"<y>"'} <= set(texts(root))
    assert root.attrib["aria-label"] == '"<y>" over "<x>"'


def test_a_single_point_is_visible() -> None:
    chart = line_chart({"one": [(3.0, 2.0)]}, x_label="x", y_label="y")
    assert chart.count("<circle") == 1
    many = [(float(i), float(i)) for i in range(50)]
    assert "<circle" not in line_chart({"many": many}, x_label="x", y_label="y")


def test_legend_below_leaves_the_width_to_the_curves() -> None:
    names = [f"curve {i}" for i in range(3)]
    root = chart({name: [(0, 0.0), (1, 1.0)] for name in names}, legend_below=True)
    points = curves(root)[0]
    assert points[1][0] == WIDTH - NARROW_MARGIN_RIGHT
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert (width, height) == (WIDTH, HEIGHT + 2 * LEGEND_ROW)  # two entries in a row
    found = [e for e in root.iter("text") if e.text in names]
    entries = {e.text: (float(e.attrib["x"]), float(e.attrib["y"])) for e in found}
    places = [entries[name] for name in names]
    assert all(HEIGHT < y < height and LEFT < x < WIDTH for x, y in places)
    assert len(set(places)) == 3


def test_highlight_pales_all_others() -> None:
    series = {name: [(0, 0.0), (1, 1.0)] for name in "abc"}
    root = chart(series, highlight=("b", "the rest"))
    strokes = [line.attrib["stroke"] for line in root.iter("polyline")]
    assert strokes == [PALE, PALE, STRONG]  # the strong one on top
    assert [box.attrib["fill"] for box in root.iter("rect")] == [STRONG, PALE]
    assert {"b", "the rest"} <= set(texts(root)) and not {"a", "c"} & set(texts(root))


def test_highlight_without_others_or_without_its_curve() -> None:
    one = {"b": [(0, 0.0), (1, 1.0)]}
    assert "the rest" not in texts(chart(one, highlight=("b", "the rest")))
    assert texts(chart(one, highlight=("absent", "the rest"))) == texts(chart(one))


def test_a_file_of_its_own_has_namespace_and_styles() -> None:
    chart = line_chart({"a": [(0, 1), (1, 2)]}, x_label="x", y_label="y")
    root = ElementTree.fromstring(standalone(chart))
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("viewBox")
    kinds = [child.tag.rpartition("}")[2] for child in root]
    assert kinds[:2] == ["style", "rect"] and "polyline" in kinds
