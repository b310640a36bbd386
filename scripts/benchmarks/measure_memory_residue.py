#!/usr/bin/env python3
"""What a policy without memory could read after the first part of the tasks that need memory.

Per task, with and without `memory_strict`: the largest differences between variations after
arriving over MemoryBench's button and after pressing it, or over the mat. Joints of the arm in
radians, positions of blocks, drawers and buttons in millimetres, and the largest share of differing
pixels of any camera.

    python scripts/benchmarks/measure_memory_residue.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sam2act.core.tasks import CHANCE  # noqa: E402
from sam2act.envs.embedded.kit.memory import MemoryTask  # noqa: E402
from sam2act.envs.embedded.options import Options  # noqa: E402
from sam2act.envs.embedded.residue import Residue, looks, memory_env, residue  # noqa: E402
from sam2act.runtime.console import make_output_safe  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table; 0."""
    make_output_safe()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(CHANCE))
    parser.add_argument("--seeds", type=int, default=5, help="episodes of each variation (5)")
    parser.add_argument("--image_size", type=int, default=128, help="side of the images (128)")
    options = parser.parse_args(arguments)
    print("| task | `memory_strict` | when | joints, rad | things, mm | pixels, % |")
    print("|---|---|---|---|---|---|")
    for task in options.tasks:
        for strict in (True, False):
            for when, left in _largest(task, strict, options).items():
                pixels = 100 * max(left.pixels.values())
                print(
                    f"| `{task}` | {'on' if strict else 'off'} | {when} | {left.joints:.1g} | "
                    f"{1e3 * left.things:.4f} | {pixels:.3f} |",
                    flush=True,
                )
    return 0


def _largest(task: str, strict: bool, options: argparse.Namespace) -> dict[str, Residue]:
    """Of all seeds, per moment."""
    env = memory_env(task, Options(memory_strict=strict), options.image_size)
    assert isinstance(env.task, MemoryTask)
    moments = list(env.task.alike().values())
    found: list[list[Residue]] = [[] for _ in moments]
    for seed in range(options.seeds):
        runs = [looks(env, variation, seed) for variation in range(env.variation_count())]
        for number, moment in enumerate(found, start=1):
            moment.append(residue([run[number] for run in runs]))
    largest = [
        Residue(
            max(left.joints for left in moment),
            max(left.things for left in moment),
            {name: max(left.pixels[name] for left in moment) for name in moment[0].pixels},
        )
        for moment in found
    ]
    return dict(zip(moments, largest, strict=True))


if __name__ == "__main__":
    sys.exit(main())
