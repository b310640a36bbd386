"""Compare the frames that UVA imagines with those that were recorded, on held-out episodes.

    sam2act imagine runs/tiny_uva_joint/model_last.pth --windows 64

Writes `imagined.png` beside the checkpoint, rows for each window (the last frame seen, then the
real and the imagined frames below each other), and `imagined.json`: squared errors, colours from 0
to 1, of frames imagined without and, where that was trained, with the actions that were taken
(forward dynamics), of a copy of the last frame seen, and of the autoencoder alone. `sam2act report`
shows both files.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sam2act.cli.arguments import ArgumentParser, add_device
from sam2act.cli.status import DONE, run_command
from sam2act.config.load import changed
from sam2act.core.errors import ConfigError
from sam2act.core.files import replacing
from sam2act.core.run_folder import IMAGINED
from sam2act.core.types import WindowBatch
from sam2act.policies.checkpoint import load_policy
from sam2act.policies.uva.autoencoder import colours_of, pictures_of
from sam2act.policies.uva.config import DYNAMIC, FRAMES
from sam2act.policies.uva.policy import UVAPolicy
from sam2act.runtime.distributed import distributed_context
from sam2act.training.run_data import build_training_data
from sam2act.training.stores import DataOptions

SHOWN = 8  # windows of the picture
GAP = 2  # pixels
ROWS = ("real", "imagined", "with_actions")  # of the picture


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    return run_command(lambda: _imagine(build_parser().parse_args(argv)))


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="of UVA")
    parser.add_argument("--windows", type=int, default=64, help="how many are compared")
    parser.add_argument("--output", type=Path, help="files without their ends")
    parser.add_argument("--exp-cfg-opts", default="", help="changes, for example of data_folder")
    add_device(parser)
    return parser


def _imagine(options: argparse.Namespace) -> int:
    with distributed_context(options.device) as world:
        bundle = load_policy(options.checkpoint, device=world.device)
        policy = bundle.policy
        if not isinstance(policy, UVAPolicy):
            raise ConfigError(f"{options.checkpoint}: is no UVA, which alone imagines frames")
        bundle.experiment = changed(bundle.experiment, options.exp_cfg_opts)
        transforms = bundle.transforms
        data = build_training_data(
            bundle.experiment, transforms.spec, world, DataOptions(), transforms.batch
        )
    if data.validation is None:
        raise ConfigError("validation.demo: no episodes are held out; name some in --exp-cfg-opts")
    parts = [
        compared(policy, batch, data.language[batch.instruction])
        for batch in _first(data.validation.batches(), options.windows)
    ]
    frames = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    _write(options.output or Path(options.checkpoint).parent / IMAGINED, frames)
    return DONE


def compared(policy: UVAPolicy, batch: WindowBatch, language: Tensor) -> dict[str, Tensor]:
    """Frames of B windows, (B, 4, S, S, 3) uint8 each: `real`, `imagined`, `with_actions` (told
    what will be done, where that was trained), `decoded` (through the autoencoder and back) and
    `copied` (the last one seen)."""
    rgb, side = batch.observed.rgb, policy.config.image_side
    history = dataclasses.replace(
        batch.observed,
        rgb=rgb[:, :-FRAMES],
        proprioception=batch.observed.proprioception[:, :-FRAMES],
    )
    seeds = torch.arange(len(rgb))
    flat = rgb[:, -FRAMES - 1 :, 0].flatten(0, 1)
    shown = colours_of(pictures_of(flat, side)).unflatten(0, (len(rgb), FRAMES + 1))
    with torch.no_grad():
        decoded = policy.reconstruct(shown[:, 1:].flatten(0, 1))
        found = {"imagined": policy.imagine(history, language, seeds)}
        if DYNAMIC in policy.config.modes:
            told = policy.imagine(history, language, seeds, actions=batch.action)
            found["with_actions"] = told
    return {
        "real": shown[:, 1:],
        **found,
        "decoded": decoded.unflatten(0, (len(rgb), FRAMES)),
        "copied": shown[:, :1].expand(-1, FRAMES, -1, -1, -1),
    }


def errors(frames: dict[str, Tensor]) -> dict[str, list[float]]:
    """Mean squared error of each of the 4 steps, by the kind of frame."""
    real = frames["real"].float() / 255
    return {
        name: ((values.float() / 255 - real) ** 2).mean((0, 2, 3, 4)).tolist()
        for name, values in frames.items()
        if name != "real"
    }


def _first(batches: Iterator[tuple[Tensor, Any]], count: int) -> Iterator[WindowBatch]:
    """Batches until `count` windows are there."""
    for _, batch in batches:
        if count <= 0:
            return
        assert isinstance(batch, WindowBatch)
        yield batch if len(batch) <= count else batch.select(range(count))
        count -= len(batch)


def _write(place: Path, frames: dict[str, Tensor]) -> None:
    found = errors(frames)
    content = {"windows": len(frames["real"]), "squared_error": found}
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with replacing(place.with_suffix(".png")) as draft:
        Image.fromarray(_sheet(frames)).save(draft, format="PNG")
    for name, values in found.items():
        print(f"{name:12}", "  ".join(f"{value:.5f}" for value in values))


def _sheet(frames: dict[str, Tensor]) -> np.ndarray:
    """(height, width, 3) uint8."""
    pad = ((GAP, GAP), (GAP, GAP), (0, 0))
    rows = []
    for window in range(min(SHOWN, len(frames["real"]))):
        for name in (n for n in ROWS if n in frames):
            parts = [frames["copied"][window, 0], *frames[name][window]]
            rows.append(np.hstack([np.pad(part.cpu().numpy(), pad) for part in parts]))
    return np.vstack(rows)


if __name__ == "__main__":
    sys.exit(main())
