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
from sam2act.config.schema import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.training.run import Stage
from sam2act.training.start import start_from_weights
from sam2act.training.trainer import Trainer


def check(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    """Raise `ConfigError` where a key belongs to the second stage."""
    if network.use_memory:
        raise ConfigError("use_memory: True is for train_plus.py; train.py trains without memory")
    if experiment.peract.same_trans_aug_per_seq:
        raise ConfigError(
            "peract.same_trans_aug_per_seq: True is for windows of keyframes (train_plus.py); "
            "train.py draws independent samples"
        )
    if experiment.peract.cache_frozen_features:
        raise ConfigError("peract.cache_frozen_features: True is for train_plus.py")


def start(args: argparse.Namespace, trainer: Trainer) -> None:
    """Weights of a new run: those of `--init-from`, or the fresh ones."""
    if args.init_from:
        start_from_weights(trainer, Path(args.init_from))


STAGE = Stage(
    description=__doc__ or "",
    check=check,
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
