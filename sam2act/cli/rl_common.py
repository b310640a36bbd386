"""What the commands of reinforcement learning have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from sam2act.config.load import changed
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import get_backend
from sam2act.processing.sam_g.reference_files import reference_of_files, write_reference

PUBLISHED = "dinov2:dinov2_vitb14_pretrain.pth+efficientvit_sam:efficientvit_sam_l1.pt"


def add_environment(parser: argparse.ArgumentParser, *, needs_task: bool = True) -> None:
    """Flags that choose the environment."""
    add = parser.add_argument
    add("--backend", default="dmc", help="dmc (default), adroit or another one of pictures alone")
    add("--task", required=needs_task, default="", help="such as walker_walk")
    add("--level", default="original", help="original, color_easy, ..., video_hard (dmc)")
    add("--videos", default="", help="folder of mp4 files for the video levels")
    add("--action-repeat", type=int, default=2, help="frames per action (default: 2)")
    add("--env-opts", default="", help='further options of the backend, "key value"')


def add_sam_g(parser: argparse.ArgumentParser) -> None:
    """Flags of masks, named as in SAM-G's own programs."""
    add = parser.add_argument
    add("--use_SAM_g", action="store_true", help="the agent sees masked pictures")
    add("--references", type=Path, help="folder of mask-reference, instead of the two pictures")
    add("--original_image", type=Path, help="reference picture")
    add("--masked_image", type=Path, help="its mask, or the picture with the rest black")
    add("--extra_points_list", type=float, nargs="*", default=[], help="x1 y1 x2 y2 ..")
    add("--extra_masked_images_list", type=Path, nargs="*", default=[], help="masks of parts")
    add("--features", default=PUBLISHED, help="of the transform sam_g (default: as published)")
    add("--segmenter", default="efficientvit_sam:efficientvit_sam_l1.pt", help="likewise")
    add("--match", default="pooled", help="likewise: pooled (published), nearest, contrast")


def environment(args: argparse.Namespace, spec: PolicySpec) -> EnvConfig:
    """The environment that the flags choose, with what `spec` wants to observe.

    Raises:
        ConfigError: there is no such backend, task or option.
    """
    backend = get_backend(args.backend)
    backend.check_task(args.task)
    given = {"level": args.level, "videos": args.videos, "action_repeat": args.action_repeat}
    known = {name: value for name, value in given.items() if hasattr(backend.Options, name)}
    options = backend.Options(**known)
    options = changed(options, args.env_opts) if args.env_opts else options
    (camera,) = spec.camera_specs
    return EnvConfig(
        *(args.task, args.backend, spec.cameras),
        image_size=camera.height,
        masks=camera.mask,
        options=options,
    )


def transforms_of(args: argparse.Namespace, camera: str, folder: Path) -> tuple[str, ...]:
    """The description of the transform that the flags ask for; its reference goes into `folder`.

    Raises:
        ConfigError: a flag is missing, or a file cannot be used.
    """
    if not args.use_SAM_g:
        return ()
    words = {"features": args.features, "segmenter": args.segmenter, "match": args.match}
    keys = ",".join(f"{name}={value!r}" for name, value in words.items())
    if args.references is not None:
        return (f"sam_g({str(args.references)!r},{keys})",)
    if args.original_image is None or args.masked_image is None:
        raise ConfigError("--use_SAM_g needs --original_image and --masked_image, or --references")
    numbers = args.extra_points_list
    if len(numbers) % 2:
        raise ConfigError("--extra_points_list: x and y for each point, x1 y1 x2 y2 ..")
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    reference = reference_of_files(
        args.original_image, args.masked_image, args.extra_masked_images_list, points
    )
    write_reference(folder / "references", camera, 0, reference)
    return (f"sam_g({str(folder / 'references')!r},{keys})",)
