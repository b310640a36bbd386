"""Two charts of points with intervals: differences around zero, and cost against success.

As in `bars.py`, names and figures are HTML or text of fixed size, and positions are percentages of
the width that a chart gets, so that both read well from phone to desk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sam2act.reports.bars import breakable

STRIP = 30  # pixels of one strip of differences
PANEL = 210  # pixels of one panel of costs
LEFT, RIGHT = 19.0, 97.0  # percent of the width between which points of a panel lie
TOP, BOTTOM = 14, 168  # pixels between which they lie
MOST_TICKS = 4  # of a panel
TICKS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Difference:
    """A difference of two shares.

    Attributes:
        name: text before the strip.
        value: -1 to 1.
        interval: ends of the whisker, -1 to 1.
        text: figures after the strip.
        color: any CSS colour.
        clear: drawn full if it is more than chance, else as a ring.
    """

    name: str
    value: float
    interval: tuple[float, float]
    text: str
    color: str
    clear: bool


@dataclass(frozen=True)
class CostPoint:
    """One method in a panel: its cost (> 0), its success with interval (0 to 1), its colour."""

    name: str
    cost: float
    rate: float
    interval: tuple[float, float]
    color: str


def difference_chart(groups: Sequence[tuple[str, Sequence[Difference]]], sides: str) -> str:
    """Markup of strips under titles; `sides` says what left and right of zero mean."""
    parts = ['<div class="bars">']
    for title, differences in groups:
        parts.append(f"<h3>{escape(title)}</h3>")
        parts += [_strip(difference) for difference in differences]
    axis = "".join(
        f'<text x="{_across(tick)}" y="12" style="text-anchor:{_anchor(tick)}">'
        f"{signed(tick)}</text>"
        for tick in TICKS
    )
    parts.append(
        '<div class="bar"><span class="name"></span><svg class="strip" height="18" '
        f'style="height:18px">{axis}</svg></div><p class="legend">{escape(sides)}</p></div>'
    )
    return "".join(parts)


def _strip(difference: Difference) -> str:
    middle = STRIP / 2
    parts = [f'<rect width="100%" y="3" height="{STRIP - 6}" class="track"/>']
    for tick in TICKS:
        kind, x = "zero" if tick == 0 else "grid", _across(tick)
        parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="0" y2="{STRIP}"/>')
    low, high = map(_across, difference.interval)
    color = escape(difference.color)
    parts.append(
        f'<line x1="{low}" x2="{high}" y1="{middle}" y2="{middle}" stroke="{color}" '
        'stroke-width="3"/>'
    )
    fill = color if difference.clear else "#fff"
    parts.append(
        f'<circle cx="{_across(difference.value)}" cy="{middle}" r="6" fill="{fill}" '
        f'stroke="{color}" stroke-width="2.5"/>'
    )
    label = escape(f"{difference.name}: {difference.text}")
    return (
        f'<div class="bar"><span class="name">{breakable(difference.name)}</span>'
        f'<svg class="strip" height="{STRIP}" style="height:{STRIP}px" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
        f'<span class="value">{escape(difference.text)}</span></div>'
    )


def signed(share: float) -> str:
    """A difference of shares in points."""
    points = round(100 * share)
    return f"{points:+d}" if points else "0"


def _across(value: float) -> str:
    return f"{50 * (1 + max(-1.0, min(1.0, value))):.2f}%"


def _anchor(tick: float) -> str:
    return {TICKS[0]: "start", TICKS[-1]: "end"}.get(tick, "middle")


def cost_panel(title: str, points: Sequence[CostPoint], ticks: Sequence[tuple[float, str]]) -> str:
    """One panel: success upwards, the logarithm of a cost to the right.

    Args:
        title: of the panel.
        points: at least one.
        ticks: positions below the panel and their texts.
    """
    costs = [*(point.cost for point in points), *(tick for tick, _ in ticks)]
    low, high = math.log(min(costs)), math.log(max(costs))
    span = (high - low) or 1.0

    def x(cost: float) -> str:
        return f"{LEFT + (RIGHT - LEFT) * (0.04 + 0.92 * (math.log(cost) - low) / span):.2f}%"

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _up(share)
        parts.append(f'<line class="g" x1="{LEFT}%" x2="{RIGHT}%" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="e" x="{LEFT - 1.5}%" y="{y + 4:g}">{100 * share:.0f} %</text>')
    for cost, text in ticks:
        parts.append(f'<text class="m" x="{x(cost)}" y="{BOTTOM + 20}">{escape(text)}</text>')
    for point in points:
        parts.append(_point(point, x(point.cost)))
    named = "; ".join(f"{point.name} {100 * point.rate:.0f} %" for point in points)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg class="panel" height="{PANEL}" style="height:{PANEL}px" role="img" '
        f'aria-label="{escape(f"{title}: {named}")}">{"".join(parts)}</svg></figure>'
    )


def _point(point: CostPoint, x: str) -> str:
    low, high = map(_up, point.interval)
    color = escape(point.color)
    return (
        f"<g><title>{escape(point.name)}</title>"
        f'<line x1="{x}" x2="{x}" y1="{low}" y2="{high}" stroke="{color}" stroke-width="2" '
        'opacity=".55"/>'
        f'<circle cx="{x}" cy="{_up(point.rate)}" r="6.5" fill="{color}" stroke="#fff" '
        'stroke-width="1.5"/></g>'
    )


def _up(share: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * share, 1)


def color_legend(colors: Sequence[tuple[str, str]]) -> str:
    """Names with their colours, in one line that wraps."""
    entries = "".join(
        f'<span><svg width="12" height="12"><circle cx="6" cy="6" r="5.5" fill="{escape(color)}"/>'
        f"</svg>{escape(name)}</span>"
        for name, color in colors
    )
    return f'<p class="legend keys">{entries}</p>'


def axis_ticks(values: Sequence[float], steps: Sequence[float]) -> list[float]:
    """The round positions around the values, at most `MOST_TICKS`.

    Args:
        values: positive, at least one.
        steps: round positions to choose from, ascending.
    """
    low, high = min(values), max(values)
    below = max((step for step in steps if step <= low), default=low)
    above = min((step for step in steps if step >= high), default=high)
    found = [below, *(step for step in steps if below < step < above), above]
    found = list(dict.fromkeys(found))
    return found[:: math.ceil(len(found) / MOST_TICKS)]


def decimal_steps(least: float, most: float) -> tuple[float, ...]:
    """1, 2 and 5 times the powers of ten from `least` on, itself one of them, up to `most`."""
    count = math.ceil(math.log10(most / least)) + 1
    return tuple(least * 10**power * factor for power in range(count) for factor in (1, 2, 5))
