"""Series of figures by a quantity, and their charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarking import Row

from sam2act.reports.charts import line_chart, standalone


@dataclass(frozen=True)
class Series:
    """Figures by a quantity, e.g. milliseconds by the number of points."""

    name: str
    quantity: str
    points: tuple[tuple[float, float], ...]
    unit: str = "ms"
    higher_is_better: bool = False

    def rows(self) -> Iterator[Row]:
        """One row per value, all beside the first."""
        first, baseline = self.points[0]
        yield self._row(first, baseline)
        for value, figure in self.points[1:]:
            yield self._row(value, figure, baseline, f"{self.quantity} {first:g}")

    def _row(
        self, value: float, figure: float, baseline: float | None = None, label: str = ""
    ) -> Row:
        name = f"{self.name}, {self.quantity} {value:g}"
        return Row(name, figure, self.unit, baseline, label, self.higher_is_better)


def draw(every: Sequence[Series], folder: Path) -> None:
    """One chart per quantity and kind of work; variants of a kind stand behind a comma."""
    folder.mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in every:
        groups.setdefault((series.name.partition(",")[0], series.quantity), []).append(series)
    for (kind, quantity), members in groups.items():
        curves = {series.name: series.points for series in members}
        unit = members[0].unit
        chart = line_chart(curves, x_label=quantity, y_label=unit, width=560, height=260)
        name = f"performance_{kind}_by_{quantity}.svg".replace(" ", "_")
        (folder / name).write_text(standalone(chart), encoding="utf-8")
