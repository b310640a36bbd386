#!/usr/bin/env python3
"""Draw one picture of every task of the embedded simulator, as in docs/tasks.png.

python scripts/draw_tasks.py --output docs/tasks.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.status import DONE, run_command
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import get_backend, make_env
from sam2act.reports.contact_sheet import Strip, contact_sheet

COLUMNS = 5
SIDE = 184  # pixels, wide enough for the longest name
CAMERA = "front"


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--variation", type=int, default=0, help="variation of every task (0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every episode (0)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _draw(args))


def _draw(args: argparse.Namespace) -> int:
    tasks = get_backend("embedded").tasks() or []
    pictures = {}
    for task in tasks:
        env = make_env(EnvConfig(task, cameras=(CAMERA,), image_size=SIDE))
        observation = env.reset(args.variation, args.seed)[1]
        pictures[task] = getattr(observation, f"{CAMERA}_rgb")
    strips = []
    for start in range(0, len(tasks), COLUMNS):
        names = tasks[start : start + COLUMNS]
        strips.append(Strip("", names, [[pictures[name] for name in names]]))
    contact_sheet(strips).save(args.output, optimize=True)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
