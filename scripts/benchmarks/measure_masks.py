#!/usr/bin/env python3
"""Measures the points and masks of SAM-G in the embedded simulator, per factor of The Colosseum.

    python scripts/benchmarks/measure_masks.py --output FOLDER [--features efficientnet_lite]

One unperturbed reference per task and camera. For every factor: how often the positive point lies
on the object, or at most two pixels beside it, and how well the mask covers the object
(intersection over union), for each combination of `--features`, `--match` and `--segmenter`.
FOLDER keeps scenes, figures and, with --sheets, pictures: the same command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.cli.mask_reference import LEAST_PIXELS, geoms_of
from sam2act.cli.mask_report import UNPERTURBED, acting_factors
from sam2act.core.files import append_line, replacing
from sam2act.envs.base import EnvConfig, EnvError
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.processing.sam_g.components import build_features, build_segmenter
from sam2act.processing.sam_g.interfaces import DenseFeatures, PromptSegmenter, View
from sam2act.processing.sam_g.mask_weights import learn_weights
from sam2act.processing.sam_g.target import (
    Points,
    ReferenceImage,
    Target,
    decode,
    feature_maps,
    find_points,
    remember,
)
from sam2act.reports.masked import Look, mask_sheet
from sam2act.runtime.console import make_output_safe

TASKS = (
    *("open_drawer", "put_block_back", "close_jar"),
    *("put_money_in_safe", "insert_onto_square_peg"),
)
CAMERAS = ("front", "left_shoulder")
BESIDE = 2  # pixels
REFERENCE_SEED, FIRST_SEED = 401, 500
STEPS = 50  # of the weights of the masks


Targets = dict[tuple[str, str], Target]  # by camera and way


class Picture(NamedTuple):
    """What a camera sees, and where the object is."""

    view: View
    truth: Tensor  # (H, W) bool


class Kept:
    """Feature sets that compute the map of a picture once."""

    def __init__(self, features: DenseFeatures) -> None:
        self._features = features
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, rgb: Tensor) -> Tensor:
        """(M, S, S, 3) uint8 -> (M, h, h, C)."""
        if self._last is None or not self._last[0].equal(rgb):
            self._last = rgb, self._features(rgb)
        return self._last[1]


@dataclasses.dataclass(frozen=True)
class Way:
    """One combination of features, match and segmenter."""

    name: str
    features: tuple[DenseFeatures, ...]
    match: str
    segmenter: PromptSegmenter

    def learn(self, picture: Picture) -> Target:
        """What it remembers of the reference."""
        reference = ReferenceImage(*picture)
        target = remember(reference, self.features, self.segmenter)
        return learn_weights(*(reference, target, self.features, self.segmenter, self.match, STEPS))

    def find(self, view: View, target: Target) -> tuple[Points, Tensor]:
        """The points and the mask."""
        maps = feature_maps(view, self.features)
        points = find_points(maps, target, view.side, self.match)
        self.segmenter.look(view)
        return points, decode(self.segmenter, points, target)


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints one table."""
    make_output_safe()
    options = build_parser().parse_args(arguments)
    torch.set_num_threads(1)
    ways = build_ways(options)
    rows = options.output / "figures.csv"
    done = {tuple(row.split(",")[:5]) for row in lines_of(rows)}
    started = time.process_time()
    known: dict[str, Targets] = {}  # by task
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for task in options.tasks:
            measure(task, seed, known.setdefault(task, {}), ways, done, rows, options)
    figures = read_figures(rows, options)
    print_table(figures, [way.name for way in ways])
    with replacing(options.output / "figures.json") as partial:
        partial.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"{time.process_time() - started:.0f} s of processor time in this call")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of scenes and figures")
    add("--features", nargs="+", default=["efficientnet_lite"])
    add("--match", nargs="+", default=["contrast"])
    add("--segmenter", nargs="+", default=["random_walk", "random_walk:rgb"])
    add("--tasks", nargs="+", default=list(TASKS))
    add("--cameras", nargs="+", default=list(CAMERAS))
    add("--factors", nargs="+", default=None, help="default: all that act")
    add("--seeds", type=int, default=3)
    add("--first-seed", type=int, default=FIRST_SEED)
    add("--reference-seed", type=int, default=REFERENCE_SEED)
    add("--image-size", type=int, default=128)
    add("--sheets", action="store_true", help="pictures of the first seed")
    return parser


def build_ways(options: argparse.Namespace) -> list[Way]:
    """All combinations; equal feature sets and segmenters are shared."""
    sets = {text: tuple(map(Kept, build_features(text))) for text in options.features}
    segmenters = {text: build_segmenter(text) for text in options.segmenter}
    return [
        Way(f"{features} {match} {segmenter}", sets[features], match, segmenters[segmenter])
        for features in sets
        for match in options.match
        for segmenter in segmenters
    ]


def measure(
    task: str,
    seed: int,
    targets: Targets,
    ways: Sequence[Way],
    done: set[tuple[str, ...]],
    rows: Path,
    options: argparse.Namespace,
) -> None:
    """Add the figures of a task and seed that are missing; `targets` are filled when needed."""
    looks: dict[tuple[str, str], list[Look]] = defaultdict(list)
    drawn = options.sheets and seed == options.first_seed
    for factor in (UNPERTURBED, *acting_factors(task, options.factors)):
        keys = [(task, factor, str(seed), c, w.name) for c in options.cameras for w in ways]
        if not drawn and done >= set(keys):
            continue
        if not targets:
            known = pictures(task, UNPERTURBED, options.reference_seed, options)
            for camera, seen in known.items():
                targets.update({(camera, way.name): way.learn(seen) for way in ways})
        found = pictures(task, factor, seed, options)
        for key, way in zip(keys, list(ways) * len(options.cameras), strict=True):
            target, picture = targets.get(key[-2:]), found.get(key[-2])
            figures = (np.nan, np.nan)
            if target is not None and picture is not None:
                points, mask = way.find(picture.view, target)
                figures = figures_of(points, mask, picture.truth)
                if drawn:
                    looks[key[-2:]].append(look_of(factor, points, mask, picture))
            if key not in done:
                append_line(rows, ",".join([*key, *(f"{one:.4f}" for one in figures)]) + "\n", HEAD)
    for (camera, name), part in looks.items():
        plain = name.replace(" ", "_").replace(":", "-")
        mask_sheet(part).save(options.output / f"{task}_{camera}_{plain}.png")


HEAD = "task,factor,seed,camera,way,hit,overlap\n"


def figures_of(points: Points, mask: Tensor, truth: Tensor) -> tuple[float, float]:
    """Whether the positive point hits, and the overlap of the mask."""
    near = F.max_pool2d(truth.float()[None], 2 * BESIDE + 1, 1, BESIDE)[0] > 0
    x, y = points.points[0].tolist()
    return float(near[y, x]), float((mask & truth).sum() / (mask | truth).sum())


def look_of(factor: str, points: Points, mask: Tensor, picture: Picture) -> Look:
    """The same as a picture."""
    marked = torch.cat([points.points, points.labels[:, None]], dim=1).numpy()
    return Look(factor, picture.view.rgb.numpy(), marked, mask.numpy(), picture.truth.numpy())


def pictures(
    task: str, factor: str, seed: int, options: argparse.Namespace
) -> Mapping[str, Picture]:
    """The pictures of a scene by camera, without cameras that see too little of the object."""
    file = options.output / "scenes" / f"{task}_{factor}_{seed}_{options.image_size}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        found: dict[str, Any] = {
            f"{camera}/{what}": value for camera, what, value in look(task, factor, seed, options)
        }
        with replacing(file) as partial, open(partial, "wb") as stream:
            np.savez_compressed(stream, **found)
    with np.load(file) as stored:
        images = {name: torch.from_numpy(stored[name]) for name in stored.files}
    cameras = [c for c in options.cameras if f"{c}/truth" in images]
    return {
        c: Picture(View(images[f"{c}/rgb"], images[f"{c}/depth"]), images[f"{c}/truth"])
        for c in cameras
        if images[f"{c}/truth"].sum() >= LEAST_PIXELS
    }


def look(
    task: str, factor: str, seed: int, options: argparse.Namespace
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Camera, kind and image; nothing of scenes that cannot be laid out."""
    chosen = Options(perturbations=() if factor == UNPERTURBED else (factor,))
    cameras = tuple(options.cameras)
    config = EnvConfig(task, "embedded", cameras, options.image_size, masks=True, options=chosen)
    env = EmbeddedEnv(config)
    try:
        frame = env.reset(0, seed)[1].frame()
    except EnvError:
        return
    numbers = geoms_of(env, type(env.task).manipulated)
    for camera in cameras:
        yield camera, "rgb", frame.rgb[camera]
        yield camera, "depth", frame.depth[camera].astype(np.float32)
        yield camera, "truth", np.isin(frame.mask[camera].astype(np.int64), numbers)


def lines_of(rows: Path) -> list[str]:
    """The lines of the table without its head."""
    return rows.read_text(encoding="utf-8").splitlines()[1:] if rows.exists() else []


def read_figures(rows: Path, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Factor -> `way hit` or `way overlap` -> values of all pictures that were asked for."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seeds = {str(options.first_seed + number) for number in range(options.seeds)}
    for line in lines_of(rows):
        task, factor, seed, camera, way, hit, overlap = line.split(",")
        if task in options.tasks and seed in seeds and camera in options.cameras and hit != "nan":
            figures[factor][f"{way} hit"].append(float(hit))
            figures[factor][f"{way} overlap"].append(float(overlap))
    return figures


def print_table(figures: Mapping[str, Mapping[str, Sequence[float]]], ways: Sequence[str]) -> None:
    """One row per factor, means over pictures."""
    names = [f"{way} {what}" for way in ways for what in ("hit", "overlap")]
    print("| factor | pictures |", " | ".join(names), "|")
    print("|---" * (len(names) + 2) + "|")
    for factor, found in figures.items():
        count = max(len(values) for values in found.values())
        cells = [f"{np.mean(found[name]):.2f}" if found.get(name) else "-" for name in names]
        print(f"| {factor} | {count} |", " | ".join(cells), "|")


if __name__ == "__main__":
    sys.exit(main())
