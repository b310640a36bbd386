#!/usr/bin/env python3
"""Give all cameras of recorded demos square images of one size, as training needs them.

    python scripts/crop_demos.py --data recorded --split train --output data --image-size 128

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

from sam2act.data.rlbench.demo_crops import crop_episode
from sam2act.data.rlbench.demo_folders import (
    episode_folders,
    episodes_folder,
    tasks_below,
    why_absent,
)
from sam2act.data.rlbench.types import DemoError
from sam2act.runtime.console import make_output_safe


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="demos, DATA/<split>/<task>/...")
    parser.add_argument("--output", type=Path, required=True, help="another folder for the result")
    parser.add_argument("--image-size", type=int, default=128, help="pixels per side (128)")
    parser.add_argument("--split", default="train", help="split below both (default: train)")
    parser.add_argument("--tasks", nargs="+", default=[], help="tasks (default: all there)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    make_output_safe()
    args = build_parser().parse_args(arguments)
    try:
        if args.image_size < 1:
            raise DemoError(f"--image-size {args.image_size}: must be at least 1")
        tasks = args.tasks or tasks_below(args.data / args.split)
        if not tasks:
            raise DemoError(why_absent(args.data, args.split))
        for task in tasks:
            found = episode_folders(args.data, args.split, task)
            target = episodes_folder(args.output, args.split, task)
            for number, folder in tqdm(found.items(), task, unit="demo"):
                crop_episode(folder, target / f"episode{number}", args.image_size)
            print(f"{target}: {len(found)} demos of {args.image_size} x {args.image_size} pixels")
    except (DemoError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
