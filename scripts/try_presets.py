#!/usr/bin/env python3
"""Does every tiny preset of a multi-view policy work from end to end?

    python scripts/try_presets.py --output FOLDER [--only tiny_rvt2 ...]

Four demonstrations of one task in the embedded simulator; then for each preset 20 updates, the
second half of them resumed from the checkpoint of the first half, and one evaluated episode. Every
step is a command of this project, shown before it runs; the first one that fails ends the script.
Running it again skips what is done.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # it runs without an installation

from sam2act.cli.arguments import ArgumentParser  # noqa: E402
from sam2act.experiments.commands import demonstrations, evaluation, sam2act  # noqa: E402
from sam2act.runtime.console import make_output_safe  # noqa: E402
from sam2act.runtime.steps import Step, run_steps  # noqa: E402

TASK, DEMOS, UPDATES = "open_drawer", 4, 20
PRESETS = (
    *("tiny", "tiny_no_multires", "tiny_convex14", "tiny_dinov2", "tiny_depth_anything_v2"),
    *("tiny_sam", "tiny_rvt2", "tiny_rvt", "tiny_sam_e", "tiny_published"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the steps; the exit status of the first one that fails, or 0."""
    make_output_safe()
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of demos and runs")
    parser.add_argument("--only", nargs="+", choices=PRESETS, default=PRESETS, metavar="PRESET")
    args = parser.parse_args(arguments)
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    demos = demonstrations(
        output / "demos" / "train", TASK, episodes=DEMOS, seed=0, image_size=128, workers=1
    )
    steps = [Step("demonstrations", demos)]
    for preset in args.only:
        steps += steps_of(preset, output)
    return run_steps(steps, ROOT, math.inf, output / "durations.csv")


def steps_of(preset: str, output: Path) -> list[Step]:
    """Half of the updates, all of them, an episode."""
    options = (
        f"tasks {TASK} exp_id try exp_name {preset} demo {DEMOS} bs 4 num_workers 0 "
        f"train_iter {4 * UPDATES // 2} peract.warmup_steps 2 "
        f"data_folder {output}/demos store_folder {output}/store"
    )
    halves = [
        Step(
            f"{preset}: {epochs * UPDATES // 2} updates",
            sam2act(
                *("train", "--exp_cfg_path", f"configs/{preset}.yaml"),
                *("--mvt_cfg_path", f"configs/mvt/{preset}.yaml"),
                *("--exp_cfg_opts", f"{options} epochs {epochs}"),
                *("--log-dir", output / "runs", "--device", "cpu"),
            ),
        )
        for epochs in (1, 2)
    ]
    acting = evaluation(
        output / "runs" / f"try_{preset}" / "model_last.pth",
        TASK,
        seed=0,
        episodes=1,
        episode_length=5,
        log_name="try",
        workers=1,
        more=("--device", "cpu"),
    )
    return [*halves, Step(f"{preset}: an episode", acting)]


if __name__ == "__main__":
    sys.exit(main())
