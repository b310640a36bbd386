#!/usr/bin/env python3
"""Make the reference images and masks that the transform sam_g needs.

    sam2act mask-reference --task open_drawer --output references
    sam2act mask-reference --task put_block_back --objects block target1 --cameras front --output r

The embedded simulator starts an episode of the task; every camera gives a picture, its depth, the
numbers of the objects in it, and a mask of `--objects` (default: what the task moves and where it
belongs). `--list` names the objects. Masks made by hand go into the same folder: the picture as
<camera>_0.png, the picture with everything else black as <camera>_masked_0.png.
With --backend dmc the picture is that of a task of DMControl, its mask the robot.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sam2act.cli.arguments import ArgumentParser, positive_number
from sam2act.cli.status import DONE, run_command
from sam2act.core.errors import ConfigError
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.core.wording import listing
from sam2act.envs.base import EnvConfig, EnvError
from sam2act.envs.dmc.tasks import CAMERA
from sam2act.envs.registry import make_env
from sam2act.processing.sam_g.interfaces import View
from sam2act.processing.sam_g.reference_files import write_reference
from sam2act.processing.sam_g.target import ReferenceImage

LEAST_PIXELS = 10  # of a mask that can serve as a reference


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--task", required=True, help="task of the simulator")
    add("--output", type=Path, default=Path("references"), help="folder (default: references)")
    add("--objects", nargs="+", default=[], help="names of bodies that matter")
    add("--cameras", nargs="+", default=list(POLICY_CAMERAS), help="default: those of policies")
    add("--number", type=int, default=0, help="of the reference of each camera (default: 0)")
    add("--variation", type=int, default=0, help="of the task (default: 0)")
    add("--seed", type=int, default=0, help="of the scene (default: 0)")
    add("--image-size", type=positive_number, default=128, help="pixels per side (128)")
    add("--backend", choices=("embedded", "dmc"), default="embedded", help="simulator (embedded)")
    add("--list", action="store_true", help="name the objects of the task and do nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _make(args), (EnvError,))


def _make(args: argparse.Namespace) -> int:
    return _make_of_dmc(args) if args.backend == "dmc" else _make_of_embedded(args)


def _make_of_dmc(args: argparse.Namespace) -> int:
    env = make_env(EnvConfig(args.task, "dmc", (CAMERA,), args.image_size, masks=True))
    frame = env.reset(args.variation, args.seed)[1].frame()
    env.close()
    objects = frame.mask[CAMERA].astype(np.int64)
    view = View(torch.from_numpy(frame.rgb[CAMERA]), objects=torch.from_numpy(objects))
    _write(args, CAMERA, view, objects > 0)
    return DONE


def _make_of_embedded(args: argparse.Namespace) -> int:
    from sam2act.envs.embedded.backend import require_mujoco

    require_mujoco()
    from sam2act.envs.embedded.sim import EmbeddedEnv

    cameras = tuple(args.cameras)
    env = EmbeddedEnv(EnvConfig(args.task, cameras=cameras, image_size=args.image_size, masks=True))
    bodies = object_names(env)
    if args.list:
        print("\n".join(bodies))
        return DONE
    unknown = [name for name in args.objects if name not in bodies]
    if unknown:
        raise ConfigError(
            f"--objects: {', '.join(unknown)} is none of {listing(bodies)} (--list names all)"
        )
    _, observation = env.reset(args.variation, args.seed)
    numbers = geoms_of(env, args.objects)
    frame = observation.frame()
    for camera in cameras:
        objects = frame.mask[camera].astype(np.int64)
        mask = np.isin(objects, numbers)
        if mask.sum() < LEAST_PIXELS:
            print(f"{camera}: {mask.sum()} pixels of the objects; left out, take another --seed")
            continue
        view = View(*map(torch.from_numpy, (frame.rgb[camera], frame.depth[camera], objects)))
        _write(args, camera, view, mask)
    return DONE


def _write(args: argparse.Namespace, camera: str, view: View, mask: np.ndarray) -> None:
    reference = ReferenceImage(view, torch.from_numpy(mask))
    write_reference(args.output, camera, args.number, reference)
    print(f"{args.output / camera}_{args.number}.png: {mask.mean():.1%} of it masked")


def object_names(env: object) -> list[str]:
    """Names of the bodies with shapes in the scene of an embedded environment."""
    model = env.model  # type: ignore[attr-defined]
    bodies = (model.body(number) for number in range(1, model.nbody))
    return [body.name for body in bodies if body.geomnum[0] and body.name]


def geoms_of(env: object, names: Sequence[str] = ()) -> np.ndarray:
    """(N,) numbers of the shapes of the bodies `names`; by default those that the task is about."""
    task = type(env.task)  # type: ignore[attr-defined]
    chosen = names or (*task.manipulated, *task.receivers)
    return np.concatenate([env.scene.geoms(name) for name in chosen])  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
