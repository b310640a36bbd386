"""Runs the cells of a comparison one after the other; what is done is not done again.

Several processes may share the cells of one folder. What two cells have in common, such as
demonstrations, is made by whoever comes first while the other waits.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.experiments.cells import COMPLETE, CellStep, Runnable
from sam2act.runtime.steps import INTERRUPTED, REASONS, TIME_IS_UP, Step, StopRequests, run

POLL_SECONDS = 0.5  # between two looks at what another process makes
SHOWN_LETTERS = 300  # of the line with which a command failed
AnyCell = TypeVar("AnyCell", bound=Runnable)
# What torchrun tells its processes; the commands of a cell are single processes.
TORCHRUN = re.compile(
    r"TORCHELASTIC_.*|(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)"
)


@dataclass(frozen=True)
class Share:
    """Which cells are those of this process: every `count`-th one from `index` on."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ConfigError(
                f"--shard {self.index}/{self.count}: shards of {self.count} are numbered from 0 to "
                f"{self.count - 1}"
            )

    def of(self, cells: Sequence[AnyCell]) -> list[AnyCell]:
        """Those cells."""
        return list(cells[self.index :: self.count])


@dataclass
class Record:
    """How the commands of a cell ended; an empty one of a cell that nobody began.

    Attributes:
        seconds: wall time by the kind of command, all attempts together.
        failed: title of the command that failed last; empty if none did.
        why: how it ended.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    why: str = ""

    @property
    def total(self) -> float:
        """Seconds of all commands."""
        return sum(self.seconds.values())


def read_record(cell: Runnable) -> Record:
    """What is stored of a cell."""
    try:
        return Record(**json.loads(cell.record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Record()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{cell.record}: {error}; remove the file") from error


def failures(cells: Sequence[AnyCell]) -> list[tuple[AnyCell, Record]]:
    """Cells that are not complete because a command failed, and how."""
    records = [(cell, read_record(cell)) for cell in cells if cell.state() != COMPLETE]
    return [(cell, record) for cell, record in records if record.failed]


class CellRunner:
    """Runs cells until they are done, the time is up or somebody stops it."""

    def __init__(
        self,
        cells: Sequence[Runnable],
        *,
        deadline: float,
        after_cell: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing runs yet.

        Args:
            cells: those of this process.
            deadline: of `time.monotonic()`, may be infinite.
            after_cell: called whenever a cell is done.
        """
        self._cells, self._deadline, self._after_cell = list(cells), deadline, after_cell
        self._environment = {
            name: value for name, value in os.environ.items() if not TORCHRUN.fullmatch(name)
        }

    def run(self) -> int:
        """0, or `TIME_IS_UP` or `INTERRUPTED`; failed cells stand in their records."""
        waiting = [cell for cell in self._cells if cell.state() != COMPLETE]
        done = len(self._cells) - len(waiting)
        if done:
            print(f"{done} of {len(self._cells)} cells are complete already", flush=True)
        with StopRequests().listening() as requests:
            for place, cell in enumerate(waiting):
                number = done + place + 1
                print(f"\n[{number}/{len(self._cells)}] {cell.title}, log {cell.log}", flush=True)
                code = self._run_cell(cell, requests)
                if code in REASONS:
                    print(f"\n{cell.title}: {REASONS[code]}. The same command continues.")
                    return code
                print(self._progress(cell, waiting[place + 1 :]), flush=True)
                self._after_cell()
        return 0

    def _run_cell(self, cell: Runnable, requests: StopRequests) -> int:
        """Run what is missing of a cell; the exit status of the command that ended it, else 0."""
        record = read_record(cell)
        record.failed = record.why = ""
        for step in cell.open_steps():
            started = time.monotonic()
            with _locked(cell.output / "locks" / step.lock, self._must_stop(requests)):
                if self._must_stop(requests)():
                    return INTERRUPTED if requests else TIME_IS_UP
                if step.is_done():  # another process was faster
                    continue
                code = run(
                    Step(step.title, step.command),
                    Path.cwd(),
                    self._deadline,
                    requests,
                    log=cell.log,
                    environment=self._environment,
                )
            passed = time.monotonic() - started
            record.seconds[step.kind] = record.seconds.get(step.kind, 0.0) + passed
            if code and code not in REASONS:
                record.failed, record.why = step.title, _why(code, cell.log)
            elif not code and not step.is_done():
                code = 1
                record.failed, record.why = step.title, _incomplete(step)
            _write(cell.record, vars(record))
            if code:
                return code
        _write(cell.record, vars(record))
        return 0

    def _must_stop(self, requests: StopRequests) -> Callable[[], bool]:
        return lambda: bool(requests) or time.monotonic() >= self._deadline

    def _progress(self, cell: Runnable, rest: Sequence[Runnable]) -> str:
        """How a cell ended, and how long the others will take."""
        record = read_record(cell)
        text = f"{cell.title}: complete in {duration(record.total)}"
        if record.failed:
            text = f"{cell.title}: FAILED in the {record.failed}: {record.why}"
        if not rest:
            return text
        seconds = expected_seconds(rest, self._cells)
        about = "" if seconds is None else f", about {duration(seconds)}"
        return f"{text}; {len(rest)} cells left{about}"


def expected_seconds(rest: Sequence[Runnable], known: Sequence[Runnable]) -> float | None:
    """How long the cells `rest` will take, from those `known` that are complete; None of none.

    A cell takes as long as others of its preset and task did, else of its preset, else of all.
    """
    totals = {cell: read_record(cell).total for cell in known if cell.state() == COMPLETE}
    if not totals:
        return None

    def expected(cell: Runnable) -> float:
        alike = [s for c, s in totals.items() if c.group[0] == cell.group[0]]
        same = [s for c, s in totals.items() if c.group == cell.group]
        return statistics.fmean(same or alike or totals.values())

    return sum(expected(cell) for cell in rest)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def _locked(path: Path, must_stop: Callable[[], bool]) -> Iterator[None]:
    """Let one process at a time in; also when `must_stop`, so that the caller can end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        while not must_stop():
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_SECONDS)
            except OSError:  # a file system without locks; every command resumes or refuses
                break
        yield


def _why(code: int, log: Path) -> str:
    """Exit status and last words of a command."""
    lines = re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace"))
    said = [line.strip() for line in lines if line.strip()]
    return f"exit status {code}: {said[-1][:SHOWN_LETTERS] if said else 'it said nothing'}"


def _incomplete(step: CellStep) -> str:
    return f"the command ended well, but what it makes is not whole ({step.lock})"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path, shared=True) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
