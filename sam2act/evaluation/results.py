"""Rows of finished episodes on disk, and what they are results of.

Every episode is a row of `episodes*.csv`, written when it ends; several processes write one file
each. The keyframe poses that were asked for stand beside it in `targets*.jsonl`, an episode a line,
and what acting cost in `acting*.jsonl`.
`evaluation.json` says what was evaluated and how, so that a resumed evaluation cannot mix two of
them.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import UserError
from sam2act.core.files import append_line, replacing
from sam2act.evaluation.environment import SWITCHES

FORMAT = 1
DESCRIPTION_FILE = "evaluation.json"
TIMEOUT = "timeout"  # cause of failure: the episode length was reached
UNSOLVED = "unsolved"  # cause of failure: the environment ended the episode before
HUNG, DIED = "SimulatorTimeout", "SimulatorDied"  # causes: the simulator was lost, twice
NEVER_BEGUN = -1  # variation of an episode whose reset failed
FULL_REWARD = 100.0
MOST_LETTERS = 2000  # of a cell
TARGET_DIGITS = 5  # after the point
Targets = tuple[tuple[float, ...], ...]


class ResultsError(UserError):
    """Stored results cannot be read or continued; the message names file and remedy."""


@dataclass(frozen=True)
class Acting:
    """What acting in one episode cost.

    Attributes:
        forward_passes: predictions of the policy; 0 where none acts.
        policy_seconds: wall time from observations to actions; of calls for several episodes its
            share.
        simulator_seconds: wall time of the simulator, the reset included unless the process had
            to start first.
    """

    forward_passes: int
    policy_seconds: float
    simulator_seconds: float


@dataclass(frozen=True)
class EpisodeRow:
    """How one episode ended.

    Attributes:
        task: name of the task.
        episode: number within the evaluation.
        variation: of the task; -1 if the episode never began.
        seed: of the scene; None where a demo holds the state of a random generator.
        success: 1 or 0.
        reward: of the last step, times 100.
        steps: actions, the one that failed included.
        failure: why it failed, empty on success.
        message: details of the failure.
        seconds: wall time, waiting for the network included.
        video: file name below the folder of the results, may be empty.
        instruction: that the policy was given.
        targets: every action of a policy that acts in keyframe poses, in a file of their own; None
            for other policies, and where rows alone were read.
        acting: what it cost, in a file of its own; None where rows alone were read.
    """

    task: str
    episode: int
    variation: int
    seed: int | None
    success: int
    reward: float
    steps: int
    failure: str = ""
    message: str = ""
    seconds: float = 0.0
    video: str = ""
    instruction: str = ""
    targets: Targets | None = None
    acting: Acting | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells episodes of an evaluation apart."""
        return self.task, self.episode

    @property
    def is_lost(self) -> bool:
        """Whether it failed for the simulator's sake: the policy is not to blame."""
        return self.variation == NEVER_BEGUN or self.failure.startswith((HUNG, DIED))


_ROWS, _TARGETS, _ACTING = "episodes", "targets", "acting"
_APART = (_TARGETS, _ACTING)  # in files of their own
COLUMNS = tuple(f.name for f in dataclasses.fields(EpisodeRow) if f.name not in _APART)


def rows_file(rank: int = 0) -> str:
    """Name of the file that process `rank` writes."""
    return f"{_ROWS}_rank{rank}.csv" if rank else f"{_ROWS}.csv"


def targets_file(rows: Path) -> Path:
    """Where the targets of the episodes in the file `rows` stand."""
    return _beside(rows, _TARGETS)


def acting_file(rows: Path) -> Path:
    """Where the costs of acting in the episodes in the file `rows` stand."""
    return _beside(rows, _ACTING)


def _beside(rows: Path, name: str) -> Path:
    return rows.with_name(rows.name.replace(_ROWS, name, 1)).with_suffix(".jsonl")


# ---------------------------------------------------------------------------------- rows
class RowWriter:
    """Adds rows to a file, each on disk before the next episode counts."""

    def __init__(self, path: Path, before: Callable[[], None] = lambda: None) -> None:
        """Write to `path`; `before` is called once, before the first row."""
        self.path = path
        self._before = functools.cache(before)

    def write(self, row: EpisodeRow) -> None:
        """Append `row` as one line, after its targets and costs."""
        self._before()
        if row.targets is not None:
            append_line(targets_file(self.path), _targets_line(row))
        if row.acting is not None:
            values = {"task": row.task, "episode": row.episode, **dataclasses.asdict(row.acting)}
            append_line(acting_file(self.path), json.dumps(values) + "\n")
        append_line(self.path, _line(row), header=_csv(COLUMNS))


def _line(row: EpisodeRow) -> str:
    """The row as one line; texts lose line breaks and what is beyond a sensible length."""
    values = dataclasses.asdict(row)
    cells = ["" if values[name] is None else values[name] for name in COLUMNS]
    return _csv([" ".join(c.split())[:MOST_LETTERS] if isinstance(c, str) else c for c in cells])


def _targets_line(row: EpisodeRow) -> str:
    rounded = [[round(value, TARGET_DIGITS) for value in target] for target in row.targets or ()]
    return json.dumps({"task": row.task, "episode": row.episode, "targets": rounded}) + "\n"


def _csv(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def read_rows(folder: Path) -> list[EpisodeRow]:
    """The rows of all files of an evaluation by task and episode.

    Of several with the same key the last one counts that was not lost to the simulator.

    Raises:
        ResultsError: a file has other columns, or a line that is no row.
    """
    rows: dict[tuple[str, int], EpisodeRow] = {}
    for path in sorted(folder.glob("episodes*.csv")):
        for row in _read_file(path):
            if not (row.is_lost and row.key in rows):
                rows[row.key] = row
    return sorted(rows.values(), key=lambda row: row.key)


def _read_file(path: Path) -> list[EpisodeRow]:
    """The rows of a file; a last line without its end was cut off and does not count."""
    try:
        header, *lines = path.read_bytes().decode().split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path} is not a text file: {error}; move it away") from error
    except ValueError:  # not even a whole first line
        return []
    if header != _csv(COLUMNS).strip():
        raise ResultsError(
            f"{path}: the columns are {header}, expected {','.join(COLUMNS)}; it was "
            "not written by this version of eval.py: choose another --log-name"
        )
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(_parse(next(csv.reader([line]))))
        except (ValueError, StopIteration, csv.Error) as error:
            raise ResultsError(f"{path}, line {number}: {error}; remove that line") from error
    return rows


def _parse(line: Sequence[str]) -> EpisodeRow:
    values = dict(zip(COLUMNS, line, strict=True))
    return EpisodeRow(
        task=values["task"],
        episode=int(values["episode"]),
        variation=int(values["variation"]),
        seed=int(values["seed"]) if values["seed"] else None,
        success=int(values["success"]),
        reward=float(values["reward"]),
        steps=int(values["steps"]),
        failure=values["failure"],
        message=values["message"],
        seconds=float(values["seconds"]),
        video=values["video"],
        instruction=values["instruction"],
    )


def read_targets(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    """(task, episode) -> actions (T, 9) of `KEYFRAME_POSE`; of several lines the last one counts.

    Raises:
        ResultsError: a file is damaged.
    """

    def targets(item: Mapping[str, Any]) -> np.ndarray:
        return np.array(item["targets"], float).reshape(-1, KEYFRAME_POSE.size)

    return _read_apart(folder, _TARGETS, targets)


def read_acting(folder: Path) -> dict[tuple[str, int], Acting]:
    """(task, episode) -> what acting cost, as far as it was stored; of several lines the last one
    counts.

    Raises:
        ResultsError: a file is damaged.
    """

    def acting(item: Mapping[str, Any]) -> Acting:
        seconds = (float(item[f"{who}_seconds"]) for who in ("policy", "simulator"))
        return Acting(int(item["forward_passes"]), *seconds)

    return _read_apart(folder, _ACTING, acting)


def _read_apart(
    folder: Path, name: str, parse: Callable[[Mapping[str, Any]], Any]
) -> dict[tuple[str, int], Any]:
    """What `parse` reads from the lines of the files `name`, by task and episode."""
    found = {}
    for path in sorted(folder.glob(f"{name}*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                item = json.loads(line)
                found[str(item["task"]), int(item["episode"])] = parse(item)
            except (ValueError, KeyError, TypeError) as error:
                raise ResultsError(f"{path}, line {number}: {error}; remove that line") from error
    return found


# --------------------------------------------------------------------------- description
# Settings that an evaluation and its continuation need not share: they grow.
_GROWING = ("tasks", "start_episode", "eval_episodes")
_HARMLESS = ("headless",)  # changes no episode
# What earlier versions, which do not say it, did.
_FORMERLY = {**dict.fromkeys(SWITCHES, "unknown"), "executor": "single"}
# Of a checkpoint; where else it is described, nothing is compared.
_IDENTITY = ("sha256", "config")


def describe(folder: Path, description: Mapping[str, Any]) -> None:
    """Store what is evaluated, together with what an evaluation that is continued says.

    Raises:
        ResultsError: it has other settings or another checkpoint.
    """
    merged = dict(description)
    names = {f"{row.task}/{row.episode}" for row in read_rows(folder)}
    if names and (folder / DESCRIPTION_FILE).exists():
        check_same(folder, description)
        stored = read_description(folder)
        for by_task in ("chance", "perturbed"):
            merged[by_task] = stored.get(by_task, {}) | description.get(by_task, {})
        merged["settings"] = _grown(stored["settings"], description["settings"])
        skipped = stored.get("skipped", {}) | description.get("skipped", {})
        merged["skipped"] = {key: text for key, text in skipped.items() if key not in names}
    write_text(folder / DESCRIPTION_FILE, json.dumps(merged, indent=1) + "\n")


def check_same(folder: Path, description: Mapping[str, Any]) -> None:
    """Make sure that `folder` holds no finished episode, or those of the same evaluation.

    Keys that one side lacks are not compared, except for the executor and the switches of the
    environment.

    Raises:
        ResultsError: it has other settings or another checkpoint.
    """
    if not _has_results(folder):
        return
    stored = read_description(folder)
    for part in ("settings", "checkpoint"):
        before, now = stored.get(part) or {}, description.get(part) or {}
        if part == "settings":
            keys = (set(before) & set(now)) - {*_GROWING, *_HARMLESS} | set(_FORMERLY) & set(now)
        else:
            keys = set(before) & set(now) & set(_IDENTITY)
        for key in sorted(keys):
            found = before.get(key, _FORMERLY.get(key))
            if found != now[key]:
                raise ResultsError(
                    f"{folder / DESCRIPTION_FILE}: these results have {part} {key} "
                    f"{found!r}, now it is {now[key]!r}; choose another --log-name"
                )


def _has_results(folder: Path) -> bool:
    """Whether there are finished episodes; without any, stored settings need not agree."""
    return (folder / DESCRIPTION_FILE).exists() and bool(read_rows(folder))


def _grown(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of both: all tasks, and the range of episodes that covers both."""
    ends = [part["start_episode"] + part["eval_episodes"] for part in (before, now)]
    first = min(before["start_episode"], now["start_episode"])
    return {
        **now,
        "tasks": list(dict.fromkeys([*before["tasks"], *now["tasks"]])),
        "start_episode": first,
        "eval_episodes": max(ends) - first,
    }


def read_description(folder: Path) -> dict[str, Any]:
    """What `describe` stored.

    Raises:
        ResultsError: the file is absent or damaged.
    """
    path = folder / DESCRIPTION_FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {error}; evaluate again") from error


def write_text(path: Path, text: str) -> None:
    """Write a file atomically."""
    with replacing(path, shared=True) as partial:
        partial.write_text(text, encoding="utf-8")
