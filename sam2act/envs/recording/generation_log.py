"""What has been generated so far: one log per task, and the summary made of it.

A log has a line with the options of the data set and then a row per episode, written when the
episode is finished. Later rows of an episode replace earlier ones.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.errors import UserError
from sam2act.core.files import naming, replacing
from sam2act.data.rlbench.demo_folders import episodes_below, episodes_in

LOG_FILE = "generation.jsonl"
SUMMARY_FILE = "summary.json"
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?")


class GenerationError(UserError):
    """The request cannot be carried out; the message names the remedy."""


@dataclass
class Row:
    """What became of an episode.

    Attributes:
        seed: of the attempt that succeeded, None if none did.
        attempts: number of tries so far.
        failures: why the failed ones failed, in order.
        seconds: wall time of all tries and of writing.
    """

    task: str
    episode: int
    variation: int
    seed: int | None = None
    attempts: int = 0
    failures: list[str] = field(default_factory=list)
    frames: int = 0
    keyframes: list[int] = field(default_factory=list)
    instruction: str = ""
    seconds: float = 0.0


def episode_folder(output: Path, task: str, episode: int) -> Path:
    """Where an episode of `task` is stored below the folder of the split."""
    return output / task / episodes_below(task) / f"episode{episode}"


def read_rows(output: Path, task: str, options: Mapping[str, Any]) -> dict[int, Row]:
    """The last row of every episode in the log of `task`, by number; empty if there is no log.

    Args:
        output: folder of the split.
        task: name of the task.
        options: those that the log must have been written with.

    Raises:
        GenerationError: it was written with others, or demos lie there without a log.
    """
    path = output / task / LOG_FILE
    if not path.exists():
        if episodes_in(output / task / episodes_below(task)):
            raise GenerationError(
                f"{path}: no such file, although there are demos beside it: they come from "
                "elsewhere; choose another output folder"
            )
        return {}
    found, rows = _read(path)
    is_there = any(_is_finished(output, row) for row in rows.values())
    if found != options and is_there:
        raise GenerationError(
            f"{path}: these demos were made with {found}, not with {dict(options)}; use the "
            "same options to add episodes, or another output folder"
        )
    return rows if found == options else {}


def finished_rows(output: Path, task: str, options: Mapping[str, Any]) -> list[Row]:
    """Rows of the episodes that are there, by number.

    Raises:
        GenerationError: see `read_rows`.
    """
    rows = read_rows(output, task, options)
    return [row for _, row in sorted(rows.items()) if _is_finished(output, row)]


def _is_finished(output: Path, row: Row) -> bool:
    return row.seed is not None and episode_folder(output, row.task, row.episode).is_dir()


def append_row(output: Path, row: Row, options: Mapping[str, Any]) -> None:
    """Add `row` to the log of its task, which starts anew where nothing of it is of use."""
    path = output / row.task / LOG_FILE
    lines = [json.dumps(asdict(row))]
    if not path.exists() or _read(path)[0] != options:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        lines.insert(0, json.dumps({"options": dict(options)}))
    elif not path.read_bytes().endswith(b"\n"):
        lines.insert(0, "")  # ends a line that an interruption cut off
    with naming(path), path.open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


def _read(path: Path) -> tuple[dict[str, Any] | None, dict[int, Row]]:
    """The options and the rows of a log, by episode."""
    records = list(_json_lines(path))
    known = {field.name for field in fields(Row)}
    rows = [
        Row(**{name: value for name, value in record.items() if name in known})
        for record in records
        if record.keys() >= {"task", "episode", "variation"}
    ]
    options = next((record["options"] for record in records if "options" in record), None)
    return options, {row.episode: row for row in rows}


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # cut off by an interruption, or no text
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def splits_with_equal_episodes(
    output: Path, tasks: Sequence[str], options: Mapping[str, Any]
) -> list[Path]:
    """Neighbours of `output` whose episodes of a task have the same seed, hence are the same."""
    found = []
    for folder in sorted(output.resolve().parent.glob("*/")):
        logs = [folder / task / LOG_FILE for task in tasks]
        others = [_read(log)[0] or {} for log in logs if log.exists()]
        same = any(other.get("seed") == options["seed"] for other in others)
        if same and folder != output.resolve():
            found.append(folder)
    return found


# ------------------------------------------------------------------------------- summary
def summarise(rows: Iterable[Row], requested: int, finished: Sequence[Row]) -> dict[str, Any]:
    """The summary of a task.

    Args:
        rows: of all episodes, failed ones too.
        requested: number of episodes.
        finished: rows of the episodes that are there.
    """
    failures = Counter(_NUMBER.sub("#", cause) for row in rows for cause in row.failures)
    return {
        "requested": requested,
        "succeeded_at_first_attempt": sum(row.attempts == 1 for row in finished),
        "succeeded": len(finished),
        "seconds_per_demo": _mean(row.seconds for row in finished),
        "frames": _mean(row.frames for row in finished),
        "keyframes": _mean(len(row.keyframes) for row in finished),
        "failure_causes": dict(failures.most_common()),
    }


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return round(float(np.mean(values)), 3) if values else 0.0


def write_summary(output: Path, summaries: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write `summary.json` atomically; tasks of earlier calls are kept."""
    path = output / SUMMARY_FILE
    content: dict[str, Any] = {}
    if path.exists():
        with contextlib.suppress(json.JSONDecodeError):
            content = json.loads(path.read_text(encoding="utf-8"))
    with replacing(path, shared=True) as partial:
        text = json.dumps(content | dict(summaries), indent=1)
        partial.write_text(text + "\n", encoding="utf-8")
    return path
