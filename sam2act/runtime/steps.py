"""Commands that run one after the other until they are done, the time is up or somebody stops them.

Only the standard library is imported, as in scripts/memory_experiment.py.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

TIME_IS_UP, INTERRUPTED = 3, 130  # exit statuses; shells use the second one after Ctrl-C
REASONS = {TIME_IS_UP: "the time is up", INTERRUPTED: "interrupted"}
LEAST_SECONDS = 5  # with less left a step does not begin
SAVING_SECONDS = 60  # that an interrupted command gets to save its state
POLL_SECONDS = 0.2
BURST_SECONDS = 1  # `timeout` and some schedulers signal a process and then its whole group
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Step:
    """A command with the name under which its duration is noted."""

    title: str
    command: tuple[str, ...]


class StopRequests:
    """Counts how often Ctrl-C, a termination signal or a closed terminal asked to stop."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def __len__(self) -> int:
        return len(self._times)

    def note(self, _signal: int, _frame: FrameType | None) -> None:
        """Count a signal, unless it belongs to the same request as the one before."""
        now = time.monotonic()
        if not self._times or now - self._times[-1] > BURST_SECONDS:
            self._times.append(now)

    @contextmanager
    def listening(self) -> Iterator[StopRequests]:
        """Signals inside are counted in place of their usual effect.

        What was ignored before (nohup, a background job) stays so, but by a function: an ignored
        signal would be inherited by the commands, and then SIGINT could not stop them in time.
        """
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number, handler in before.items():
            signal.signal(number, _overlook if handler is signal.SIG_IGN else self.note)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _overlook(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing about a signal."""


def run_steps(steps: Sequence[Step], folder: Path, deadline: float, durations: Path) -> int:
    """Run commands in order; 0, `TIME_IS_UP`, `INTERRUPTED` or the exit status of one that failed.

    Args:
        steps: the commands; the same ones go on where they were stopped.
        folder: in which they run.
        deadline: of `time.monotonic()`, may be infinite.
        durations: table to which a line is added for every command.
    """
    with StopRequests().listening() as requests:
        for step in steps:
            started = time.monotonic()
            if requests:
                code = INTERRUPTED
            elif deadline - started < LEAST_SECONDS:
                code = TIME_IS_UP
            else:
                used = cpu_seconds()
                code = run(step, folder, deadline, requests)
                passed = time.monotonic() - started
                note_duration(durations, step.title, passed, cpu_seconds() - used)
            if code:
                why = REASONS.get(code, f"exit status {code}")
                print(f"\n{step.title}: {why}. The same command continues.", file=sys.stderr)
                return code
    return 0


def run(
    step: Step,
    folder: Path,
    deadline: float,
    requests: StopRequests,
    *,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command; its exit status, or `TIME_IS_UP` or `INTERRUPTED` if it had to stop.

    Args:
        step: the command.
        folder: in which it runs.
        deadline: of `time.monotonic()`, may be infinite.
        requests: to stop.
        log: file to which its output is added; by default it goes to the console.
        environment: its variables; by default those of this process.
    """
    print(f"\n== {step.title}\n   {shlex.join(step.command)}", flush=True)
    with _opened(log) as output:
        # In a session of its own: Ctrl-C in a terminal reaches this program, which passes it on.
        process = subprocess.Popen(
            step.command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while not requests and time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_SECONDS)
    code = INTERRUPTED if requests else TIME_IS_UP
    end(process, requests)
    return code


@contextmanager
def _opened(log: Path | None) -> Iterator[IO[bytes] | None]:
    """The file to add to, its folder made; None for the console."""
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as stream:
        yield stream


def end(process: subprocess.Popen[bytes], requests: StopRequests) -> None:
    """Let a command save what it has, as after Ctrl-C; further requests are passed on."""
    sent, limit = 0, time.monotonic() + SAVING_SECONDS
    while time.monotonic() < limit:
        if sent < max(len(requests), 1):
            process.send_signal(signal.SIGINT)
            sent += 1
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            return
    os.killpg(process.pid, signal.SIGKILL)  # its own processes, too
    process.wait()


def cpu_seconds() -> float:
    """Processor time of all commands so far, their own processes included."""
    times = os.times()
    return times.children_user + times.children_system


def note_duration(path: Path, title: str, seconds: float, processor: float) -> None:
    """Add a line to the table of durations, with the processor time used, and show it."""
    line = f"{title}\t{seconds:.0f} seconds\t{processor:.0f} CPU seconds"
    print(line, flush=True)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(line + "\n")
