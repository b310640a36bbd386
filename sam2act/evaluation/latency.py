"""How long a forward pass of a policy takes, measured after an evaluation, stored beside it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sam2act.evaluation.results import ResultsError, write_text

LATENCY_FILE = "latency.json"
PASSES = 10  # as many successive keyframes; memories fill meanwhile


@dataclass(frozen=True)
class Latency:
    """The time from an observation to its action.

    Attributes:
        seconds: median over the passes.
        passes: how many were timed, after two that were not.
        rows: of each pass.
        device: on which the policy lies.
    """

    seconds: float
    passes: int
    rows: int
    device: str


def write_latency(
    folder: Path, time_passes: Callable[[int], list[float]], *, rows: int, device: str
) -> None:
    """Time passes and store the result in `folder`, unless it is there already.

    Args:
        folder: of the results.
        time_passes: number of passes -> seconds of each.
        rows: of each pass.
        device: on which the policy lies.
    """
    path = folder / LATENCY_FILE
    if path.is_file():
        return
    found = Latency(statistics.median(time_passes(PASSES)), PASSES, rows, device)
    write_text(path, json.dumps(asdict(found)) + "\n")


def read_latency(folder: Path) -> Latency | None:
    """What was stored; None if nothing was.

    Raises:
        ResultsError: the file is damaged.
    """
    path = folder / LATENCY_FILE
    if not path.is_file():
        return None
    try:
        return Latency(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path}: {error}; remove the file and evaluate again") from error
