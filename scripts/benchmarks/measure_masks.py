#!/usr/bin/env python3
"""Measures the points and masks of SAM-G in the embedded simulator, per factor of The Colosseum.

    python scripts/benchmarks/measure_masks.py --json FILE [--features efficientnet_lite]

One unperturbed reference per task and camera. For every factor: how often the positive point lies
on the object, or at most two pixels beside it, and how well the mask covers the object
(intersection over union), for each combination of `--match` and `--segmenter`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.cli.mask_reference import LEAST_PIXELS, geoms_of
from sam2act.core.files import replacing
from sam2act.envs.base import EnvConfig, EnvError
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.registry import get_backend
from sam2act.processing.sam_g.finder import ObjectFinder
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.target import ReferenceImage, Target
from sam2act.runtime.console import make_output_safe

TASKS = (
    *("open_drawer", "put_block_back", "close_jar"),
    *("put_money_in_safe", "insert_onto_square_peg"),
)
CAMERAS = ("front", "left_shoulder")
FACTORS = (
    *("none", "object_color", "object_texture", "table_color", "table_texture"),
    *("background_texture", "light_color", "light_direction", "object_size"),
    *("distractor_object", "camera_pose"),
)
BESIDE = 2  # pixels
REFERENCE_SEED, FIRST_SEED = 1, 100
STEPS = 200  # of the weights of the masks


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints one table."""
    make_output_safe()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--json", type=Path, help="file of all figures")
    add("--features", nargs="+", default=["efficientnet_lite", "color"])
    add("--match", nargs="+", default=["contrast"])
    add("--segmenter", nargs="+", default=["random_walk", "random_walk:rgb"])
    add("--tasks", nargs="+", default=list(TASKS))
    add("--cameras", nargs="+", default=list(CAMERAS))
    add("--factors", nargs="+", default=list(FACTORS))
    add("--seeds", type=int, default=3)
    add("--image-size", type=int, default=128)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    finders = {
        f"{features} {match} {segmenter}": ObjectFinder(features, segmenter, match, STEPS)
        for features in options.features
        for match in options.match
        for segmenter in options.segmenter
    }
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for task in options.tasks:
        for factor, found in measure(task, finders, options):
            for name, value in found.items():
                figures[factor][name].append(value)
    print_table(figures)
    if options.json:
        with replacing(options.json) as partial:
            partial.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0


def measure(
    task: str, finders: dict[str, ObjectFinder], options: argparse.Namespace
) -> Iterator[tuple[str, dict[str, float]]]:
    """Figures of every picture of a task: (factor, name -> value)."""
    targets: dict[tuple[str, str], Target] = {}
    for camera, view, mask in look(task, "none", REFERENCE_SEED, options):
        for name, finder in finders.items():
            targets[name, camera] = finder.learn(ReferenceImage(view, mask))
    for factor in options.factors:
        if factor != "none" and not acts(factor, task):
            continue
        for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
            for camera, view, mask in look(task, factor, seed, options):
                known = {name: targets.get((name, camera)) for name in finders}
                yield factor, figures_of(finders, known, view, mask)


def figures_of(
    finders: dict[str, ObjectFinder], targets: dict[str, Target | None], view: View, truth: Tensor
) -> dict[str, float]:
    """Hits and overlaps of one picture."""
    near = F.max_pool2d(truth.float()[None], 2 * BESIDE + 1, 1, BESIDE)[0] > 0
    figures = {}
    for name, finder in finders.items():
        target = targets[name]
        if target is None:
            continue
        x, y = finder.points(view, target).points[0].tolist()
        mask = finder.find(view, [target])
        figures[f"{name} hit"] = float(near[y, x])
        figures[f"{name} overlap"] = float((mask & truth).sum() / (mask | truth).sum())
    return figures


def acts(factor: str, task: str) -> bool:
    """Whether a factor changes anything in a task."""
    backend = get_backend("embedded")
    try:
        return bool(backend.perturbed_by([task], [factor])[task])  # type: ignore[attr-defined]
    except ValueError:
        return False


def look(
    task: str, factor: str, seed: int, options: argparse.Namespace
) -> Iterator[tuple[str, View, Tensor]]:
    """Camera, view and the object's mask, of cameras that see enough of it."""
    perturbations = () if factor == "none" else (factor,)
    cameras, side = tuple(options.cameras), options.image_size
    chosen = Options(perturbations=perturbations)
    env = EmbeddedEnv(EnvConfig(task, "embedded", cameras, side, masks=True, options=chosen))
    try:
        frame = env.reset(0, seed)[1].frame()
    except EnvError:
        return
    numbers = geoms_of(env, type(env.task).manipulated)
    for camera in cameras:
        objects = frame.mask[camera].astype(np.int64)
        mask = torch.from_numpy(np.isin(objects, numbers))
        if mask.sum() >= LEAST_PIXELS:
            rgb, depth = (torch.from_numpy(images[camera]) for images in (frame.rgb, frame.depth))
            yield camera, View(rgb, depth, torch.from_numpy(objects)), mask


def print_table(figures: dict[str, dict[str, list[float]]]) -> None:
    """One row per factor, means over pictures."""
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    print("| factor | pictures |", " | ".join(names), "|")
    print("|---" * (len(names) + 2) + "|")
    for factor, found in figures.items():
        count = max(len(values) for values in found.values())
        cells = [f"{np.mean(found[name]):.2f}" if found.get(name) else "-" for name in names]
        print(f"| {factor} | {count} |", " | ".join(cells), "|")


if __name__ == "__main__":
    sys.exit(main())
