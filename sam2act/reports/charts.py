"""Line charts as SVG text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLORS = ("#1f6fb2", "#d1495b", "#2a9d5c", "#8a5fbf", "#c98a1b", "#5a6472")
STRONG, PALE = "#c2263e", "#c3cad3"  # the highlighted curve, all others
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 66, 150, 16, 40
NARROW_MARGIN_RIGHT = 14  # with the legend below the chart
LEGEND_ROW = 18
FEW_POINTS = 12
SVG_OPENING = '<svg xmlns="http://www.w3.org/2000/svg"'
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Frame:
    """Where the axes lie (pixels) and what they span."""

    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixel position of a point."""
        horizontal = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        vertical = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return (
            MARGIN_LEFT + horizontal * (self.right - MARGIN_LEFT),
            self.bottom - vertical * (self.bottom - MARGIN_TOP),
        )


def line_chart(
    series: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    width: int = 820,
    height: int = 320,
    log_y: bool = False,
    legend_below: bool = False,
    highlight: tuple[str, str] | None = None,
) -> str:
    """A chart of named curves, each a sequence of (x, y); non-finite points are left out.

    Args:
        series: curves by name, at most as many as there are colours read well.
        x_label: text below the axis.
        y_label: text beside the axis.
        width: pixels.
        height: pixels, without a legend below.
        log_y: logarithmic vertical axis (all values must be positive).
        legend_below: names below the chart instead of beside it, for narrow charts.
        highlight: name of the one curve in a strong colour, and a name for all others, which
            turn pale; any number of curves reads well then.

    Returns:
        an `<svg>` element; a short text if there is nothing to draw.
    """
    curves = _curves(series, log_y)
    if not curves:
        return "<p>no data</p>"
    right = width - (NARROW_MARGIN_RIGHT if legend_below else MARGIN_RIGHT)
    xs, ys = ([p[axis] for points in curves.values() for p in points] for axis in (0, 1))
    x_range, y_range = _range(xs, from_zero=False), _range(ys, from_zero=not log_y)
    frame = _Frame(right, height - MARGIN_BOTTOM, x_range, y_range)
    colors, entries = _colors(list(curves), highlight)
    rows = math.ceil(len(entries) / 2) if legend_below else 0
    parts = [
        f'<svg viewBox="0 0 {width} {height + LEGEND_ROW * rows}" role="img" '
        f'aria-label="{escape(y_label)} over {escape(x_label)}">'
    ]
    parts += _axes(frame, log_y)
    for name in sorted(curves, key=lambda name: colors[name] == STRONG):  # the strong one on top
        parts += _curve(frame, curves[name], colors[name])
    parts += _legend(entries, frame, height if legend_below else None)
    middle, center = (MARGIN_LEFT + right) / 2, (MARGIN_TOP + frame.bottom) / 2
    parts.append(f'<text x="{middle:.0f}" y="{height - 6}" class="m">{escape(x_label)}</text>')
    parts.append(
        f'<text transform="translate(12 {center:.0f}) rotate(-90)" class="m">'
        f"{escape(y_label)}</text></svg>"
    )
    return "".join(parts)


def standalone(chart: str) -> str:
    """A chart as a file of its own: with its namespace, styles and a white ground."""
    style = (
        "<style>text { font: 12px system-ui, sans-serif; fill: #4a5563; } .e { text-anchor: end; } "
        ".m { text-anchor: middle; } .g { stroke: #e4e7eb; }</style>"
        '<rect width="100%" height="100%" fill="#fff"/>'
    )
    head, _, rest = chart.partition(">")
    return f"{head.replace('<svg', SVG_OPENING, 1)}>{style}{rest}\n"


def _curves(series: Mapping[str, Points], log_y: bool) -> dict[str, list[tuple[float, float]]]:
    """What can be drawn of every curve, in units of the axes."""
    curves = {
        name: [(x, math.log10(y) if log_y else y) for x, y in points if _drawable(y, log_y)]
        for name, points in series.items()
    }
    return {name: points for name, points in curves.items() if points}


def _colors(
    names: Sequence[str], highlight: tuple[str, str] | None
) -> tuple[dict[str, str], dict[str, str]]:
    """The colour of every curve, and of every entry of the legend."""
    if highlight is None or highlight[0] not in names:
        colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
        return colors, colors
    strong, others = highlight
    colors = {name: STRONG if name == strong else PALE for name in names}
    return colors, {strong: STRONG} | ({others: PALE} if len(names) > 1 else {})


def _axes(frame: _Frame, log_y: bool) -> list[str]:
    parts = []
    for tick in _ticks(*frame.y_range):
        _, y = frame.place(frame.x_range[0], tick)
        label = _number(float(f"{10**tick:.2g}") if log_y else tick)
        parts.append(
            f'<line x1="{MARGIN_LEFT}" y1="{y:.1f}" x2="{frame.right}" y2="{y:.1f}" class="g"/>'
        )
        parts.append(f'<text x="{MARGIN_LEFT - 6}" y="{y + 4:.1f}" class="e">{label}</text>')
    for tick in _ticks(*frame.x_range):
        x, _ = frame.place(tick, frame.y_range[0])
        parts.append(f'<text x="{x:.1f}" y="{frame.bottom + 16}" class="m">{_number(tick)}</text>')
    return parts


def _number(value: float) -> str:
    """As short as a tick can be: 0.002, 102.5, 262,144."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _curve(frame: _Frame, points: Points, color: str) -> list[str]:
    width = 2.6 if color == STRONG else 1.8
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame.place(*point) for point in points))
    parts = [f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>']
    if len(points) <= FEW_POINTS:  # a line alone would hide a single point
        dots = (frame.place(*point) for point in points)
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in dots]
    return parts


def _legend(entries: Mapping[str, str], frame: _Frame, below: int | None) -> list[str]:
    """Names beside the chart, or in two columns from pixel row `below` on."""
    parts = []
    for index, (name, color) in enumerate(entries.items()):
        x, y = frame.right + 12, MARGIN_TOP + 12 + LEGEND_ROW * index
        if below is not None:
            x = MARGIN_LEFT + (index % 2) * (frame.right - MARGIN_LEFT) / 2
            y = below + 14 + LEGEND_ROW * (index // 2)
        parts.append(f'<rect x="{x:g}" y="{y - 6}" width="12" height="4" fill="{color}"/>')
        parts.append(f'<text x="{x + 18:g}" y="{y}">{escape(name)}</text>')
    return parts


def _drawable(y: float, log_y: bool) -> bool:
    return math.isfinite(y) and (not log_y or y > 0)


def _range(values: list[float], *, from_zero: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if from_zero:
        low = min(low, 0.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round positions within a range."""
    raw = (high - low) / wanted
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]
