"""Compare the embedded scenes with the facts of the published ones, and write what was found.

sam2act fidelity --tasks open_drawer --resets 20
sam2act fidelity --recordings DIR --output docs/fidelity.md
sam2act fidelity --deviations docs/simulator.md

Every task is compiled, reset --resets times and compared: places, sizes, masses, colours, joints,
sensors, waypoints, variations, random places. --recordings compares also with recorded open_drawer
demonstrations, DIR/<split>/open_drawer. The status is 1 if a fact deviates without a reason.
--deviations measures nothing: it writes the reasons that tasks state into the table of a page.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, positive_number
from sam2act.cli.compare_recordings import read_recordings
from sam2act.cli.status import DONE, FAULT, run_command
from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.core.tasks import expand_tasks
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.embedded.fidelity.documents import read_documents
from sam2act.envs.embedded.fidelity.measure import measure
from sam2act.envs.embedded.fidelity.page import fidelity_page, recordings_section, summary_row
from sam2act.envs.embedded.fidelity.recordings import compare_recordings
from sam2act.envs.embedded.fidelity.rules import RULES
from sam2act.envs.embedded.fidelity.stated import write_table

SCENES = "SAM2ACT_SCENES_DIR"
EVERY = 10  # recorded frames
ALL = ["memorybench", "all"]


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=ALL, help=f"{TASKS_HELP} (default: both)")
    parser.add_argument(
        "--resets", type=positive_number, default=200, help="resets of every task (200)"
    )
    parser.add_argument(
        "--scenes",
        type=Path,
        default=os.environ.get(SCENES) or None,
        help=f"folder of facts, one JSON file per task (default: {SCENES}, else those shipped)",
    )
    parser.add_argument(
        "--recordings", type=Path, help="recorded demos, DIR/train/open_drawer, to compare with too"
    )
    parser.add_argument("--output", type=Path, help="markdown page to write")
    parser.add_argument(
        "--deviations",
        type=Path,
        metavar="PAGE",
        help="only write the table of stated deviations into PAGE",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args), (DemoError,))


def _command(args: argparse.Namespace) -> str:
    """How the page is made, without the folders of this machine."""
    parts = ["sam2act fidelity"]
    parts += [] if args.tasks == ALL else ["--tasks", *args.tasks]
    parts += ["--recordings DIR"] if args.recordings else []
    parts += ["--scenes DIR"] if args.scenes else []
    return " ".join([*parts, f"--resets {args.resets}", "--output docs/fidelity.md"])


def _run(args: argparse.Namespace) -> int:
    if args.deviations:
        write_table(args.deviations)
        return DONE
    tasks = list(dict.fromkeys(expand_tasks(args.tasks)))
    strange = [task for task in tasks if task not in RULES]
    if strange:
        raise UserError(f"--tasks: {strange[0]!r} has no published scene; take {', '.join(RULES)}")
    recordings = read_recordings(args.recordings, "train") if args.recordings else []
    documents, findings = read_documents(args.scenes), {}
    for task in tasks:
        findings[task] = measure(task, documents, args.resets)
        print(summary_row(findings[task]), flush=True)
    faults = [fault for item in findings.values() for fault in item.faults()]
    if args.output:
        today = datetime.date.today().isoformat()
        section = recordings_section(compare_recordings(recordings, EVERY)[0]) if recordings else ""
        page = fidelity_page(
            findings,
            command=_command(args),
            date=today,
            resets=args.resets,
            recordings=section,
        )
        with replacing(args.output) as path:
            path.write_text(page, encoding="utf-8")
    for fault in faults:
        print(fault, file=sys.stderr)
    return FAULT if faults else DONE


if __name__ == "__main__":
    sys.exit(main())
