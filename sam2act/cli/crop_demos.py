#!/usr/bin/env python3
"""Give all cameras of recorded demos square images of one size, as training needs them.

    sam2act crop-demos --data recorded --split train --output data --image-size 128

Images are cropped about their centre and every k-th pixel is kept, with the largest k that fits;
nothing is interpolated, and the camera matrices follow. Writes OUTPUT/<split>/<task>/...; the
demos in DATA stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, positive_number, with_flags
from sam2act.cli.status import DONE, run_command
from sam2act.core.tasks import expand_tasks
from sam2act.data.rlbench.demo_crops import crop_episode
from sam2act.data.rlbench.demo_folders import (
    episode_folders,
    episodes_folder,
    tasks_below,
    why_absent,
)
from sam2act.data.rlbench.types import DemoError


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="demos, DATA/<split>/<task>/...")
    parser.add_argument("--output", type=Path, required=True, help="another folder for the result")
    parser.add_argument(
        "--image-size", type=positive_number, default=128, help="pixels per side (128)"
    )
    parser.add_argument("--split", default="train", help="split below both (default: train)")
    parser.add_argument(
        "--tasks", nargs="+", default=[], help=f"{TASKS_HELP} (default: every task that is there)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _crop_named(args), (DemoError,))


def _crop_named(args: argparse.Namespace) -> int:
    """As `_crop`; an error names the flags of this command."""
    try:
        return _crop(args)
    except DemoError as error:
        raise DemoError(with_flags(str(error), {"data_folder": "--data"})) from error


def _crop(args: argparse.Namespace) -> int:
    tasks = expand_tasks(args.tasks) or tasks_below(args.data / args.split)
    if not tasks:
        raise DemoError(why_absent(args.data, args.split))
    for task in tasks:
        found = episode_folders(args.data, args.split, task)
        target = episodes_folder(args.output, args.split, task)
        for number, folder in tqdm(found.items(), task, unit="demo"):
            crop_episode(folder, target / f"episode{number}", args.image_size)
        print(f"{target}: {len(found)} demos of {args.image_size} x {args.image_size} pixels")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
