"""Train SAM2Act+ (stage 2): the memory of the coarse branch, on windows of keyframes.

    torchrun --nproc_per_node 8 train_plus.py --exp_cfg_path configs/sam2act_plus.yaml \\
        --mvt_cfg_path configs/mvt/sam2act_plus.yaml \\
        --task_cfg_path configs/tasks/put_block_back.yaml
    sam2act train-plus --exp_cfg_path configs/tiny_plus.yaml \\
        --mvt_cfg_path configs/mvt/tiny_plus.yaml --init-from runs/tiny_test/model_last.pth

Starts from a stage-1 checkpoint: that of --init-from, else model_last.pth of the same run folder
(same exp_id and exp_name). Running the same command again resumes. Ctrl-C saves before it ends.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sam2act.cli.training import build_parser, train
from sam2act.policies.checkpoint import CheckpointError
from sam2act.training.run import Stage
from sam2act.training.start import start_stage_two
from sam2act.training.trainer import Trainer


def start(args: argparse.Namespace, trainer: Trainer) -> None:
    """Weights of a new run: stage 1, with fresh memory."""
    stage_one = Path(args.init_from or trainer.folder / "model_last.pth")
    if args.init_from or stage_one.is_file():
        start_stage_two(trainer, stage_one, same_run=not args.init_from)
    elif not args.from_scratch:
        raise CheckpointError(
            f"no stage-1 checkpoint {stage_one}; train stage 1 with the same exp_id and exp_name, "
            "name one with --init-from, or pass --from-scratch to do without"
        )


STAGE = Stage(
    description=__doc__ or "",
    number=2,
    start=start,
    needs_pretrained_encoder=lambda args: args.from_scratch,
    checkpoint_prefix="model_plus",
    config_suffix="_plus",
)


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    parser = build_parser(STAGE)
    parser.add_argument(
        "--from-scratch", action="store_true", help="train without a stage-1 checkpoint"
    )
    return train(STAGE, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
