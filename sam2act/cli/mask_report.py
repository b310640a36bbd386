"""Make a page that shows what masked agents see under each perturbation, and films of agents.

    sam2act mask-reference --task open_drawer --output references
    sam2act mask-report --task open_drawer --output masks.html --transforms \
        "sam_g('references',match='contrast')" "sam_g('references',segmenter='simulator')"
    sam2act mask-report --task open_drawer --runs plain=runs/a masked=runs/b

One sheet per transform and camera of the embedded simulator: a row per factor of The Colosseum with
the picture, the points found, the mask and the masked picture, and the overlap (IoU) with the
simulator's own masks of the objects of the reference. --runs adds films of evaluations
(`--save-video`) of the same scenes side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from sam2act.cli.arguments import ArgumentParser, positive_number
from sam2act.cli.report import MEGABYTE, source
from sam2act.cli.status import DONE, run_command
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.envs.base import EnvConfig, EnvError
from sam2act.evaluation.analysis.methods import collect_methods
from sam2act.processing.sam_g.finder import ObjectFinder
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.reference_files import read_references
from sam2act.processing.sam_g.target import Target
from sam2act.processing.sam_g.transform import SamG
from sam2act.processing.transforms import Transforms
from sam2act.reports.images import data_uri
from sam2act.reports.masked import Look, add_films, mask_sheet
from sam2act.reports.page import Page

UNPERTURBED = "none"


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--task", required=True, help="task of the embedded simulator")
    add("--transforms", nargs="+", default=[], help="texts sam_g(...)")
    add("--factors", nargs="+", default=None, help="perturbations (default: all that act)")
    add("--cameras", nargs="+", default=list(POLICY_CAMERAS), help="default: those of policies")
    add("--seed", type=int, default=7000, help="of the scene (default: 7000)")
    add("--image-size", type=positive_number, default=128, help="pixels per side (128)")
    add("--runs", nargs="+", type=source, default=[], metavar="LABEL=RUN", help="evaluated runs")
    add("--film-megabytes", type=positive_number, default=24, help="of all films (24)")
    add("--output", type=Path, default=Path("masks.html"), help="the page (masks.html)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _write(args), (EnvError,))


def _write(args: argparse.Namespace) -> int:
    page = Page(f"Masks of {args.task}")
    if args.transforms:
        _add_pictures(page, args)
    if args.runs:
        add_films(page, collect_methods(args.runs), args.task, args.film_megabytes * MEGABYTE)
    page.write(args.output)
    print(args.output)
    return DONE


def _share(overlap: float | None) -> str:
    return "-" if overlap is None else f"{overlap:.2f}"


def _add_pictures(page: Page, args: argparse.Namespace) -> None:
    cameras = tuple(args.cameras)
    known = [Masker(text, cameras, args.image_size) for text in args.transforms]
    factors = acting_factors(args.task, args.factors)
    looks: dict[tuple[str, str], list[Look]] = {}
    for factor in (UNPERTURBED, *factors):
        try:
            views = dict(scene_views(args.task, factor, args.seed, cameras, args.image_size))
        except EnvError as error:
            page.note(f"{factor}: no scene of seed {args.seed} ({error}); take another --seed.")
            continue
        for masker in known:
            for camera, view in views.items():
                looks.setdefault((masker.text, camera), []).append(
                    masker.look(factor, camera, view)
                )
    page.text(
        "Green circles: points taken to be on an object. Blue crosses: beside it. IoU: overlap "
        f"of the mask with the simulator's. All rows show the scene of seed {args.seed}."
    )
    for masker in known:
        page.heading(masker.text)
        of_cameras = [looks[masker.text, camera] for camera in cameras]
        rows = [
            [same[0].name, *(_share(look.overlap) for look in same)]
            for same in zip(*of_cameras, strict=True)
        ]
        page.table(["IoU under", *cameras], rows)
        with page.columns():
            for camera in cameras:
                sheet = mask_sheet(looks[masker.text, camera])
                page.picture(data_uri(sheet), camera, f"masks of camera {camera}")


class Masker:
    """A transform `sam_g`, and what it should find."""

    def __init__(self, text: str, cameras: tuple[str, ...], side: int) -> None:
        """Learn the references.

        Args:
            text: of the transform.
            cameras: whose references are read.
            side: pixels of the pictures.

        Raises:
            ConfigError: the text is of another transform, or a camera has no reference.
        """
        spec = PolicySpec(square_cameras(cameras, side, depth=True), language=None)
        transforms = Transforms([text], spec)
        (transform,) = transforms.steps
        if not isinstance(transform, SamG):
            raise ConfigError(f"--transforms: {text!r} is no sam_g(...)")
        transforms.fit_all(lambda: [])
        self.text, self.finder, self.targets = text, transform.finder, transform.targets
        self._oracle = ObjectFinder("color", "simulator")
        self._true: dict[str, list[Target]] = {}
        with contextlib.suppress(ConfigError):  # references without numbers of objects
            for camera in cameras:
                found = read_references(transform.references, camera)
                self._true[camera] = [self._oracle.learn(reference) for reference in found]

    def look(self, factor: str, camera: str, view: View) -> Look:
        """What it finds in a view."""
        points, targets = [np.zeros((0, 3))], self.targets[camera]
        for target in targets if self.finder.prompted else ():
            found = self.finder.points(view, target)
            points.append(torch.cat([found.points, found.labels[:, None]], dim=1).numpy())
        truth = self._true.get(camera)
        return Look(
            factor,
            view.rgb.numpy(),
            np.concatenate(points),
            self.finder.find(view, targets).numpy(),
            None if truth is None else self._oracle.find(view, truth).numpy(),
        )


def acting_factors(task: str, factors: Sequence[str] | None = None) -> list[str]:
    """Those of `factors` (default: The Colosseum's) that change something in a task."""
    from sam2act.envs.embedded.backend import perturbed_by

    if factors is None:
        return perturbed_by([task], ["all"])[task]

    def acts(factor: str) -> bool:
        try:
            return bool(perturbed_by([task], [factor])[task])
        except ConfigError:
            return False

    return [factor for factor in factors if factor != UNPERTURBED and acts(factor)]


def scene_views(
    task: str, factor: str, seed: int, cameras: Sequence[str], side: int
) -> Iterator[tuple[str, View]]:
    """What the cameras see of a new scene under a factor, with depth and numbers of objects.

    Raises:
        EnvError: the scene cannot be laid out.
    """
    from sam2act.envs.embedded.options import Options
    from sam2act.envs.embedded.sim import EmbeddedEnv

    options = Options(perturbations=() if factor == UNPERTURBED else (factor,))
    config = EnvConfig(task, "embedded", tuple(cameras), side, masks=True, options=options)
    frame = EmbeddedEnv(config).reset(0, seed)[1].frame()
    for camera in cameras:
        images = (frame.rgb[camera], frame.depth[camera], frame.mask[camera].astype(np.int64))
        yield camera, View(*map(torch.from_numpy, images))


if __name__ == "__main__":
    sys.exit(main())
