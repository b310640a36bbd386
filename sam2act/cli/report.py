#!/usr/bin/env python3
"""Turn evaluated run folders into one HTML page that opens without a network.

    sam2act report runs/tiny_put_block_back
    sam2act report SAM2Act=runs/a SAM2Act+=runs/b --output report.html
    sam2act report --pool runs/seed0 runs/seed1 runs/seed2

The page shows success per task with its uncertainty, variations, causes of failure, when the
memory was learned, training curves, films and what is needed to repeat it; scores where rewards are
graded, and frames that `sam2act imagine` has compared with real ones. Evaluations whose log
names differ only in a number at their end (test/1, test/2) are repetitions of each other. Equal
labels are pooled; without labels, methods are called by their checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sam2act.cli.arguments import ArgumentParser, positive_number
from sam2act.cli.status import DONE, run_command
from sam2act.evaluation.analysis.methods import Source, collect_methods
from sam2act.reports.imagined import add_imagined, read_imagined
from sam2act.reports.page import Page
from sam2act.reports.reproduction import add_reproduction
from sam2act.reports.results import add_results, default_title, headline, success_table
from sam2act.reports.scores import is_graded, score_table
from sam2act.reports.training import add_training
from sam2act.reports.videos import add_videos

MEGABYTE = 1_000_000


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=source, metavar="[LABEL=]RUN_FOLDER", help="evaluated run folders"
    )
    parser.add_argument("--output", type=Path, help="file (default: report.html in the first run)")
    parser.add_argument("--title", default="", help="heading of the page")
    parser.add_argument("--note", default="", help='warning below it, e.g. "quick run"')
    parser.add_argument(
        "--pool", action="store_true", help="runs without label differ in their training seed only"
    )
    parser.add_argument(
        "--video-megabytes",
        type=positive_number,
        default=12,
        help="films are left out beyond this size (12)",
    )
    return parser


def source(text: str) -> Source:
    """A run folder, with the label before the first `=` unless that belongs to the path."""
    label, separator, folder = text.partition("=")
    if not separator or Path(text).is_dir():
        return Source(Path(text))
    return Source(Path(folder), label.strip())


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _write(args))


def _write(args: argparse.Namespace) -> int:
    output = args.output or args.runs[0].folder / "report.html"
    methods = collect_methods(args.runs, pool=args.pool)
    page = Page(args.title or default_title(methods))
    runs = [source.folder for source in args.runs]
    add_results(page, methods, args.note)
    add_training(page, runs)
    imagined = read_imagined(runs)
    add_imagined(page, imagined)
    add_videos(page, methods, args.video_megabytes * MEGABYTE, imagined)
    add_reproduction(page, runs, methods)
    page.write(output)
    print(headline(methods))
    print(aligned(*success_table(methods)))
    if is_graded(methods):
        print(aligned(*score_table(methods)))
    print(f"{output} ({output.stat().st_size / MEGABYTE:.1f} MB)")
    return DONE


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text: columns as wide as their longest cell."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
