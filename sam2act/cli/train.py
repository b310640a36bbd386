"""Train SAM2Act (stage 1).

    torchrun --nproc_per_node 8 train.py --exp_cfg_path configs/sam2act.yaml \\
        --mvt_cfg_path configs/mvt/sam2act.yaml
    sam2act train --exp-cfg-path configs/tiny.yaml --mvt-cfg-path configs/mvt/tiny.yaml

Running the same command again resumes. Ctrl-C saves before it ends.
"""

from __future__ import annotations

import sys

from sam2act.cli.training import build_parser, train


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    return train(1, build_parser(__doc__ or "").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
