#!/usr/bin/env python3
"""Make the masks of recorded demonstrations before training, for the transform sam_g.

    sam2act mask-demos --data data --tasks open_drawer \
        --transform "sam_g('references',segmenter='simulator',masks='masks')"

The masks go into the folder that the transform names, where training with the same transform finds
them by the pixels of the images. With `segmenter='simulator'` they come from the mask images of
the demonstrations (`sam2act demos --images all` records these); train with `masks='stored:masks'`.
At the end demos_TASK.json in that folder says how many there are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser
from sam2act.cli.status import DONE, run_command
from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.tasks import POLICY_CAMERAS, expand_tasks
from sam2act.data.rlbench.demo_folders import episode_folders
from sam2act.data.rlbench.demo_images import image_path, read_picture
from sam2act.data.rlbench.types import DemoError
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.transform import SamG
from sam2act.processing.transforms import Transforms

SUMMARY = "demos_{}.json"  # of a task


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="demos, DATA/<split>/<task>/...")
    add("--split", default="train", help="split below it (default: train)")
    add("--tasks", nargs="+", required=True, help=TASKS_HELP)
    add("--cameras", nargs="+", default=list(POLICY_CAMERAS), help="default: those of policies")
    add("--transform", required=True, help="sam_g(...) with masks='FOLDER'")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _mask(args), (DemoError,))


def _mask(args: argparse.Namespace) -> int:
    spec = PolicySpec(square_cameras(args.cameras, 0, depth=False), language=None)
    transforms = Transforms([args.transform], spec)
    (transform,) = transforms.steps
    if not isinstance(transform, SamG):
        raise ConfigError(f"--transform: {args.transform!r} is no sam_g(...)")
    transforms.fit_all(lambda: [])
    for task in expand_tasks(args.tasks):
        made, share = 0, 0.0
        folders = episode_folders(args.data, args.split, task)
        for folder in tqdm(folders.values(), task, unit="demo"):
            for camera, view in _views(folder, args.cameras):
                mask = transform.training_mask(camera, view)
                made, share = made + 1, share + float(mask.float().mean())
        mean = share / max(made, 1)
        if transform.masks.folder is not None:
            _write_summary(transform.masks.folder, task, len(folders), made, mean)
        print(f"{task}: {made} masks of {len(folders)} demos, {mean:.1%} kept")
    return DONE


def _write_summary(folder: Path, task: str, demos: int, made: int, share: float) -> None:
    """Say in the folder of the masks that those of a task are complete."""
    summary = {"demos": demos, "masks": made, "share": share}
    with replacing(folder / SUMMARY.format(task)) as partial:
        partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _views(folder: Path, cameras: Sequence[str]) -> Iterator[tuple[str, View]]:
    """What every camera sees in the frames of a demo, without depth."""
    for camera in cameras:
        for path in sorted((folder / f"{camera}_rgb").glob("*.png")):
            rgb = torch.from_numpy(read_picture(path, "rgb").copy())
            mask = image_path(folder, camera, "mask", int(path.stem))
            yield camera, View(rgb, objects=_objects(mask) if mask.exists() else None)


def _objects(path: Path) -> torch.Tensor:
    """(H, W) numbers: red + 256 green + 65536 blue."""
    pixels = read_picture(path, "mask").astype(np.int64)
    return torch.from_numpy(pixels @ np.array([1, 256, 65536]))


if __name__ == "__main__":
    sys.exit(main())
