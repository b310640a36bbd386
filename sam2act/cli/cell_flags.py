"""What commands that run cells have in common: flags of running, and telling of failures."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence

from sam2act.core.errors import ConfigError
from sam2act.core.tasks import expand_tasks
from sam2act.envs.registry import check_tasks
from sam2act.experiments.cells import Runnable
from sam2act.experiments.run import Share, failures

BACKEND = "embedded"  # in which cells run


def add_running_flags(group: argparse._ActionsContainer) -> None:
    """Which cells, for how long, or none at all."""
    add = group.add_argument
    add("--shard", type=share, metavar="I/N", help="only cells I, I + N, I + 2 N, ...")
    add("--minutes", type=float, help="stop in time after this many; the same command goes on")
    add("--describe", action="store_true", help="show cells and missing commands, and stop")


def share(text: str) -> Share:
    """`I/N` as a share.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: write I/N, such as 0/4")
    try:
        return Share(int(index), int(count))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check_minutes(minutes: float | None) -> None:
    """Make sure that `--minutes`, if it was given, is a time.

    Raises:
        ConfigError: it is none.
    """
    if minutes is not None and not 0 < minutes < math.inf:
        raise ConfigError(f"--minutes {minutes:g}: not a positive number")


def deadline_after(minutes: float | None) -> float:
    """When to stop, in seconds of the monotonic clock; never without `minutes`."""
    return math.inf if minutes is None else time.monotonic() + 60 * minutes


def simulated_tasks(given: Sequence[str]) -> list[str]:
    """The tasks that names and sets of tasks mean, each once.

    Raises:
        ConfigError: the embedded simulator does not have one of them.
    """
    tasks = list(dict.fromkeys(expand_tasks(given)))
    try:
        check_tasks(BACKEND, tasks)
    except ValueError as error:
        raise ConfigError(f"--tasks: {error}") from error
    return tasks


def tell_failures(cells: Sequence[Runnable]) -> bool:
    """Print which cells failed, and why; whether any did."""
    failed = failures(cells)
    for cell, record in failed:
        print(f"{cell.title}: failed in the {record.failed}: {record.why}", file=sys.stderr)
    return bool(failed)
