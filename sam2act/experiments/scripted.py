"""What the scripts that run a whole experiment share: their flags, and carrying out their steps.

Only the standard library is imported before anything runs, as in `commands.py`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

from sam2act.runtime.steps import Step, run_steps


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Where results go, and how much is done at a time."""
    add = parser.add_argument
    add("--output", type=Path, default=Path("quickstart_output"), help="folder of all results")
    add("--workers", type=int, default=2, help="simulator processes (2)")
    add("--minutes", type=float, help="stop in time after this many; the same command goes on")
    add("--describe", action="store_true", help="show what would be done, and stop")


def problem(args: argparse.Namespace) -> str:
    """What is wrong with these flags; empty if nothing is."""
    if args.minutes is not None and not 0 < args.minutes < math.inf:
        return f"--minutes {args.minutes:g}: not a positive number"
    if any(character.isspace() for character in str(args.output.resolve())):
        # Options are passed on as one line, cut at spaces.
        return f"the path of --output must not contain spaces: {args.output.resolve()}"
    return ""


def carry_out(steps: Sequence[Step], args: argparse.Namespace, folder: Path, name: str) -> int:
    """Run the steps; see `run_steps` for the exit status.

    Args:
        steps: commands in their order.
        args: with the flags above.
        folder: in which the commands run.
        name: of the experiment, in that of the table of durations.
    """
    deadline = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    output: Path = args.output.resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
        return run_steps(steps, folder, deadline, output / f"durations_{name}.txt")
    except OSError as error:
        from sam2act.core.files import report_error  # there by now, if anything is

        return report_error(error)
