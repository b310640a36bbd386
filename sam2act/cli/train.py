"""Train SAM2Act (stage 1).

    torchrun --nproc_per_node 8 train.py --exp_cfg_path configs/sam2act.yaml \\
        --mvt_cfg_path configs/mvt/sam2act.yaml
    sam2act train --exp-cfg-path configs/tiny.yaml --mvt-cfg-path configs/mvt/tiny.yaml

Running the same command again resumes. Ctrl-C saves before it ends.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sam2act.cli.training import build_parser, train
from sam2act.training.run import Stage
from sam2act.training.start import start_from_weights
from sam2act.training.trainer import Trainer


def start(args: argparse.Namespace, trainer: Trainer) -> None:
    """Weights of a new run: those of `--init-from`, or the fresh ones."""
    if args.init_from:
        start_from_weights(trainer, Path(args.init_from))


STAGE = Stage(
    description=__doc__ or "",
    number=1,
    start=start,
    needs_pretrained_encoder=lambda args: not args.init_from,
    checkpoint_prefix="model",
    config_suffix="",
)


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    return train(STAGE, build_parser(STAGE).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
