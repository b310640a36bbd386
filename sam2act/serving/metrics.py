"""What a server counts, in the text form of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """How many values are at most as large as each of some bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts = bounds, [0] * len(bounds)
        self.count, self.total = 0, 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.count, self.total = self.count + 1, self.total + value
        for place, bound in enumerate(self.bounds):
            self.counts[place] += value <= bound

    def lines(self, name: str) -> Iterator[str]:
        """Its lines under `name`."""
        for bound, count in zip(self.bounds, self.counts, strict=True):
            yield f'{name}_bucket{{le="{bound:g}"}} {count}'
        yield f'{name}_bucket{{le="+Inf"}} {self.count}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {self.count}"


class Metrics:
    """Counts since the start of a server."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()  # by outcome: "ok" or the code of an error
        self.latency = Histogram(SECONDS)  # of answered requests, from arrival to answer
        self.batch = Histogram(SIZES)  # turns per batch

    def text(self, now: Mapping[str, int]) -> str:
        """All of it.

        Args:
            now: what there is at the moment, by name.
        """
        lines = ["# TYPE sam2act_requests_total counter"]
        lines += [
            f'sam2act_requests_total{{outcome="{outcome}"}} {count}'
            for outcome, count in sorted(self.requests.items())
        ]
        for name, histogram in (("request_seconds", self.latency), ("batch_size", self.batch)):
            lines += [
                f"# TYPE sam2act_{name} histogram",
                *histogram.lines(f"sam2act_{name}"),
            ]
        for name, value in now.items():
            lines += [f"# TYPE sam2act_{name} gauge", f"sam2act_{name} {value}"]
        return "\n".join(lines) + "\n"
