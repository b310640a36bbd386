"""Bars lie where their shares are, at any width, and escape what they are given."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from sam2act.reports.bars import Bar, BarGroup, bar_chart, percent


def bar(**changes) -> Bar:
    values = {"name": "SAM2Act+", "rate": 0.9, "interval": (0.75, 0.97), "text": "36 of 40"}
    return Bar(**{**values, "color": "#123456", **changes})


def chart(*groups: BarGroup) -> ElementTree.Element:
    """The chart, parsed; fails if it is not well-formed."""
    return ElementTree.fromstring(bar_chart(groups))


def strips(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [svg for svg in root.iter("svg") if "aria-label" in svg.attrib]


def lines(svg: ElementTree.Element, kind: str) -> list[tuple[str, str]]:
    """Horizontal extent of the lines of a class or inside a group of that class."""
    found = [line for line in svg.iter("line") if line.get("class") == kind]
    found += [line for g in svg.iter("g") if g.get("class") == kind for line in g.iter("line")]
    return [(line.attrib["x1"], line.attrib["x2"]) for line in found]


def test_length_is_the_share() -> None:
    (svg,) = strips(chart(BarGroup("task", [bar()])))
    (width,) = [r.attrib["width"] for r in svg.iter("rect") if r.get("fill") == "#123456"]
    assert width == "90.00%"


def test_whisker_spans_the_interval() -> None:
    (svg,) = strips(chart(BarGroup("task", [bar()])))
    ends = [("75.00%", "97.00%"), ("75.00%", "75.00%"), ("97.00%", "97.00%")]
    assert lines(svg, "whisker") == ends


def test_chance_crosses_every_bar_of_its_group_only() -> None:
    groups = [BarGroup("a", [bar(), bar()], 0.25), BarGroup("b", [bar()])]
    found = [lines(svg, "chance") for svg in strips(chart(*groups))]
    assert found == [[("25.00%", "25.00%")]] * 2 + [[]]
    assert "chance 25 %" in bar_chart(groups)
    assert "chance" not in bar_chart(groups[1:])  # not even in the legend


def test_positions_do_not_depend_on_the_width() -> None:
    """Only percentages, or offsets from an edge, so text keeps its size on a phone."""
    root = chart(BarGroup("task", [bar()], 0.5))
    assert not any("viewBox" in svg.attrib for svg in root.iter("svg"))
    for svg in strips(root):
        horizontal = [e.attrib[k] for e in svg.iter() for k in ("x", "x1", "x2") if k in e.attrib]
        assert horizontal and all(value.endswith("%") for value in horizontal)


def test_texts_stand_beside_their_bar_and_are_escaped() -> None:
    hostile = "<script>alert('x')</script> & \""
    root = chart(BarGroup(hostile, [bar(name=hostile, text=hostile, color=hostile)]))
    assert not list(root.iter("script"))
    spans = {span.get("class"): span.text for span in root.iter("span") if span.text}
    assert spans["name"] == spans["value"] == root.find("h3").text.strip() == hostile
    assert strips(root)[0].attrib["aria-label"] == f"{hostile}: {hostile}"


def test_names_with_an_executor_may_go_on_in_another_line() -> None:
    root = chart(BarGroup("task", [bar(name="tiny@open_loop(8)")]))
    names = [span for span in root.iter("span") if span.get("class") == "name"]
    assert list(names[0].itertext()) == ["tiny", "@open_loop", "(8)"]


@pytest.mark.parametrize(
    "changes", [{"rate": 1.2}, {"interval": (-0.1, 0.5)}, {"rate": float("nan")}]
)
def test_shares_beyond_the_axis_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="SAM2Act"):
        bar_chart([BarGroup("task", [bar(**changes)])])


def test_nothing_to_draw_is_said() -> None:
    assert bar_chart([]) == bar_chart([BarGroup("task", [])]) == "<p>no data</p>"


@pytest.mark.parametrize(
    ("rate", "text"), [(0.25, "25 %"), (1 / 3, "33.3 %"), (1.0, "100 %"), (0.0, "0 %")]
)
def test_percent(rate: float, text: str) -> None:
    assert percent(rate) == text
