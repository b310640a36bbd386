"""Horizontal bars of shares with intervals, readable from phone to desk.

Names and figures are HTML, so that they wrap; every bar is an SVG whose positions are percentages
of the width it gets, so that text keeps its size. The styles are those of `page.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

BAR_COLORS = ("#8a96a5", "#1f6fb2", "#2a9d5c", "#8a5fbf", "#c98a1b", "#b3566b")
HEIGHT = 26  # pixels of one strip
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Bar:
    """One share.

    Attributes:
        name: text before the bar.
        rate: the share, 0 to 1.
        interval: ends of the whisker, 0 to 1.
        text: figures after the bar.
        color: any CSS colour.
    """

    name: str
    rate: float
    interval: tuple[float, float]
    text: str
    color: str


@dataclass(frozen=True)
class BarGroup:
    """Bars under one title; `chance` (0 to 1) is drawn through all of them."""

    title: str
    bars: Sequence[Bar]
    chance: float | None = None


def percent(rate: float) -> str:
    """A share as text, with a decimal only where one is needed."""
    return f"{100 * rate:.1f}".removesuffix(".0") + " %"


def bar_chart(groups: Sequence[BarGroup], label: Callable[[float], str] = percent) -> str:
    """Markup of all groups above a common axis; a short text if there is nothing to draw.

    Args:
        groups: one below the other.
        label: text of a share at the axis.

    Raises:
        ValueError: a share is not within 0 and 1.
    """
    if not any(group.bars for group in groups):
        return "<p>no data</p>"
    parts = ['<div class="bars">']
    for group in groups:
        floor = "" if group.chance is None else f" <span>chance {percent(group.chance)}</span>"
        parts.append(f"<h3>{escape(group.title)}{floor}</h3>")
        parts += [_row(bar, group.chance) for bar in group.bars]
    parts.append(
        f'<div class="bar"><span class="name"></span>{_axis(label)}</div>{_legend(groups)}</div>'
    )
    return "".join(parts)


def _row(bar: Bar, chance: float | None) -> str:
    shares = (bar.rate, *bar.interval) if chance is None else (bar.rate, *bar.interval, chance)
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares):
        raise ValueError(f"{bar.name}: {shares} are not shares between 0 and 1")
    low, high = (_position(end) for end in bar.interval)
    middle = HEIGHT / 2
    whisker = (
        f'<line x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
        f'<line x1="{low}" x2="{low}" y1="{middle - 5}" y2="{middle + 5}"/>'
        f'<line x1="{high}" x2="{high}" y1="{middle - 5}" y2="{middle + 5}"/>'
    )
    parts = [f'<rect width="100%" y="4" height="{HEIGHT - 8}" class="track"/>']
    parts += [_line("grid", tick) for tick in TICKS]
    width = _position(bar.rate)
    parts.append(f'<rect width="{width}" y="4" height="{HEIGHT - 8}" fill="{escape(bar.color)}"/>')
    # The halo keeps the whisker visible on dark bars.
    parts.append(f'<g class="halo">{whisker}</g><g class="whisker">{whisker}</g>')
    if chance is not None:
        parts.append(_line("chance", chance))
    label = escape(f"{bar.name}: {bar.text}")
    return (
        f'<div class="bar"><span class="name">{breakable(bar.name)}</span>'
        f'<svg class="strip" height="{HEIGHT}" style="height:{HEIGHT}px" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
        f'<span class="value">{escape(bar.text)}</span></div>'
    )


def _axis(label: Callable[[float], str]) -> str:
    """Figures below the bars; those at the ends stay inside."""
    anchors = {TICKS[0]: "start", TICKS[-1]: "end"}
    texts = [
        f'<text x="{_position(tick)}" y="12" style="text-anchor:{anchors.get(tick, "middle")}">'
        f"{label(tick)}</text>"
        for tick in TICKS
    ]
    return f'<svg class="strip" height="18" style="height:18px">{"".join(texts)}</svg>'


def _legend(groups: Sequence[BarGroup]) -> str:
    y = 7
    whisker = f'<path d="M2 {y}H26M2 {y - 5}V{y + 5}M26 {y - 5}V{y + 5}"/>'
    text = f'<svg width="28" height="14"><g class="whisker">{whisker}</g></svg>'
    text = f"<span>{text}95 % interval</span>"
    if any(group.chance is not None for group in groups):
        dashes = '<line class="chance" x1="4" x2="4" y1="0" y2="14"/>'
        text += f'<span><svg width="8" height="14">{dashes}</svg>'
        text += "chance: guessing what only the past could tell</span>"
    return f'<p class="legend">{text}</p>'


def _line(kind: str, share: float) -> str:
    x = _position(share)
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"/>'


def _position(share: float) -> str:
    return f"{100 * share:.2f}%"


def breakable(name: str) -> str:
    """Markup of a name; PRESET@EXECUTOR(...) may go on in another line before @ and (."""
    head, at, tail = map(escape, name.partition("@"))
    return head + f"<wbr/>{at}{tail.replace('(', '<wbr/>(')}" * bool(at)
