#!/usr/bin/env python3
"""Compare the embedded open_drawer with demonstrations recorded in RLBench.

    sam2act compare-recordings --data DIR --output comparison.png --json figures.json

DIR holds <split>/open_drawer/all_variations/episodes. Arm, base and drawers are put where recorded
frames had them. The figures say how far recorded objects, handles and waypoints are from ours, and
of the pixels in which both show robot or chest the share whose depth is within 1 cm. The picture of
--output shows recorded image, rendered image and agreement (green: within, red: not, blue: only one
shows them); that of --agreement holds nothing recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sam2act.cli.arguments import ArgumentParser, positive_number, with_flags
from sam2act.cli.status import DONE, run_command
from sam2act.core.files import replacing
from sam2act.data.rlbench.demo_folders import episode_folders, episodes_folder
from sam2act.data.rlbench.demos import Episode, read_episode
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.embedded.fidelity.page import recordings_table
from sam2act.envs.embedded.fidelity.recordings import TASK, DepthView, compare_recordings

GREEN, RED, BLUE, DARK = (0, 160, 0), (255, 0, 0), (60, 90, 255), (40, 40, 40)


def read_recordings(root: Path, split: str) -> list[Episode]:
    """The recorded episodes of open_drawer.

    Raises:
        DemoError: there are none, or they were made here.
    """
    folder = episodes_folder(root, split, TASK)
    try:
        folders = episode_folders(root, split, TASK)
    except DemoError as error:
        raise DemoError(with_flags(str(error), {"data_folder": "--data"})) from error
    episodes = [read_episode(path) for path in folders.values()]
    recorded = [e for e in episodes if e.demo[0].misc.get("backend") != "embedded"]
    if not recorded:
        raise DemoError(f"{folder}: no episodes recorded in RLBench; set --data and --split")
    return recorded


def picture(view: DepthView) -> np.ndarray:
    """(3 H, W, 3) uint8: recorded, rendered, agreement."""
    return np.concatenate([view.recorded, view.rendered, agreement(view)])


def agreement_picture(view: DepthView) -> np.ndarray:
    """(2 H, W, 3) uint8: rendered, agreement."""
    return np.concatenate([view.rendered, agreement(view)])


def agreement(view: DepthView) -> np.ndarray:
    """(H, W, 3) uint8: where depths agree; shows nothing of the recorded image."""
    mask = np.full_like(view.rendered, DARK)
    mask[view.ours ^ view.theirs] = BLUE
    mask[view.both & view.agrees] = GREEN
    mask[view.both & ~view.agrees] = RED
    return mask


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="demos, DIR/<split>/open_drawer")
    parser.add_argument("--split", default="train", help="split below it (default: train)")
    parser.add_argument(
        "--every",
        type=positive_number,
        default=10,
        help="compare every N-th frame (10)",
    )
    parser.add_argument("--output", type=Path, help="PNG to write")
    parser.add_argument("--agreement", type=Path, help="PNG without recorded images to write")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args), (DemoError,))


def _run(args: argparse.Namespace) -> int:
    figures, shown = compare_recordings(read_recordings(args.data, args.split), args.every)
    print(recordings_table(figures))
    views = [view for views in shown for view in views]
    for target, make in ((args.output, picture), (args.agreement, agreement_picture)):
        if target:
            columns = [make(view) for view in views]
            with replacing(target) as path:
                Image.fromarray(np.concatenate(columns, axis=1)).save(path, format="png")
    if args.json:
        with replacing(args.json) as path:
            path.write_text(json.dumps(figures.as_json(), indent=1) + "\n", encoding="utf-8")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
