#!/usr/bin/env python3
"""UVA of width 512 on PushT with one GPU, in bfloat16: two pieces of nine minutes.

    python scripts/benchmarks/train_uva_on_gpu.py --data data/pusht_cchi_v7_replay.zarr
    python scripts/benchmarks/train_uva_on_gpu.py --data data/pusht_cchi_v7_replay.zarr  # goes on

The first piece trains the autoencoder, the video and a part of the joint stage; the second one ends
the joint stage, evaluates 50 test scenes and 6 of training, imagines frames and writes the page.
What a training cost (seconds, memory) stands in `costs.json` of its run folder, how long each
command took in `durations_gpu_pusht_seed0.txt`. Further flags are those of
scripts/uva_experiment.py, and win over these.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the experiment lies

import uva_experiment  # noqa: E402

from sam2act.runtime.console import make_output_safe  # noqa: E402

FLAGS = (
    *("--size", "gpu", "--device", "0", "--minutes", "9", "--workers", "8"),
    *("--output", "uva_on_gpu", "--steps", "autoencoder", "video", "joint", "evaluate_joint"),
    *("imagine", "report"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status, 3 if the time was up and the same command goes on."""
    make_output_safe()
    return int(uva_experiment.main([*FLAGS, *(sys.argv[1:] if argv is None else argv)]))


if __name__ == "__main__":
    sys.exit(main())
