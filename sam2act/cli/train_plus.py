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

import sys

from sam2act.cli.training import build_parser, train


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    parser = build_parser(__doc__ or "")
    parser.add_argument(
        "--from-scratch", action="store_true", help="train without a stage-1 checkpoint"
    )
    return train(2, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
