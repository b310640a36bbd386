"""Line charts as SVG text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLORS = ("#1f6fb2", "#d1495b", "#2a9d5c", "#8a5fbf", "#c98a1b", "#5a6472")
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 56, 150, 16, 40
FEW_POINTS = 12
Points = Sequence[tuple[float, float]]


def line_chart(
    series: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    width: int = 820,
    height: int = 320,
    log_y: bool = False,
) -> str:
    """A chart of named curves, each a sequence of (x, y); non-finite points are left out.

    Args:
        series: curves by name, at most as many as there are colours read well.
        x_label: text below the axis.
        y_label: text beside the axis.
        width: pixels.
        height: pixels.
        log_y: logarithmic vertical axis (all values must be positive).

    Returns:
        an `<svg>` element; a short text if there is nothing to draw.
    """
    curves = {
        name: [(x, math.log10(y) if log_y else y) for x, y in points if _drawable(y, log_y)]
        for name, points in series.items()
    }
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return "<p>no data</p>"
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    x_range, y_range = _range(xs, from_zero=False), _range(ys, from_zero=not log_y)
    right, bottom = width - MARGIN_RIGHT, height - MARGIN_BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        horizontal = (x - x_range[0]) / (x_range[1] - x_range[0])
        vertical = (y - y_range[0]) / (y_range[1] - y_range[0])
        return (
            MARGIN_LEFT + horizontal * (right - MARGIN_LEFT),
            bottom - vertical * (bottom - MARGIN_TOP),
        )

    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(y_label)} over {escape(x_label)}">'
    ]
    for tick in _ticks(*y_range):
        _, y = place(x_range[0], tick)
        label = f"{10**tick if log_y else tick:.3g}"
        parts.append(f'<line x1="{MARGIN_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="g"/>')
        parts.append(f'<text x="{MARGIN_LEFT - 6}" y="{y + 4:.1f}" class="e">{label}</text>')
    for tick in _ticks(*x_range):
        x, _ = place(tick, y_range[0])
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" class="m">{tick:g}</text>')
    for index, (name, points) in enumerate(curves.items()):
        color = COLORS[index % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        if len(points) <= FEW_POINTS:  # a line alone would hide a single point
            dots = (place(*point) for point in points)
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in dots]
        y = MARGIN_TOP + 12 + 18 * index
        parts.append(f'<rect x="{right + 12}" y="{y - 8}" width="12" height="4" fill="{color}"/>')
        parts.append(f'<text x="{right + 30}" y="{y}">{escape(name)}</text>')
    middle = (MARGIN_LEFT + right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{height - 6}" class="m">{escape(x_label)}</text>')
    parts.append(
        f'<text transform="translate(12 {(MARGIN_TOP + bottom) / 2:.0f}) rotate(-90)" class="m">'
        f"{escape(y_label)}</text></svg>"
    )
    return "".join(parts)


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
