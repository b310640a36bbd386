#!/usr/bin/env python3
"""Make scripted demonstrations in the embedded simulator, in the layout of RLBench.

    sam2act demos --tasks put_block_back --episodes 100 --output data_memory/train
    sam2act demos --tasks memorybench --episodes 25 --seed 1 --output data_memory/test
    sam2act demos --tasks all memorybench --episodes 2 --output look --perturb table_color
    sam2act demos --tasks colosseum_0 colosseum_8 --episodes 25 --output colosseum/test

OUTPUT is the folder of one split: demos go to OUTPUT/<task>/all_variations/episodes/episode<i>,
those under an index of The Colosseum to OUTPUT/<task>_<index>/variation0/episodes/episode<i>.
Training looks for the split train in data_memory (tasks of MemoryBench) or data (other tasks).
Beside them, OUTPUT/summary.json tells how many scripts succeeded and why others failed, and
OUTPUT/<task>_contact_sheet.png shows a few episodes at their keyframes. The same command resumes an
interrupted run and adds episodes to a finished one; the result does not depend on --workers.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, positive_number
from sam2act.cli.status import DONE, FAULT, run_command
from sam2act.core.tasks import COLOSSEUM_INDICES, COLOSSEUM_TASKS, REAL_ROBOT_TASKS, has_index
from sam2act.data.rlbench.demo_images import image_path
from sam2act.envs.base import IMAGE_POLICIES
from sam2act.envs.embedded import backend
from sam2act.envs.recording.demo_generation import Request, generate, missing_jobs
from sam2act.envs.recording.generation_log import (
    GenerationError,
    Row,
    splits_with_equal_episodes,
    write_summary,
)
from sam2act.envs.registry import choose_tasks
from sam2act.reports.contact_sheet import Strip, contact_sheet

SHEET_EPISODES = 4
SHEET_CAMERAS = ("front", "left_shoulder", "wrist")


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", help=TASKS_HELP)
    parser.add_argument("--list", action="store_true", help="list tasks and perturbations, stop")
    parser.add_argument(
        "--episodes", type=positive_number, default=100, help="demos per task (100)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the whole data set (0)")
    parser.add_argument(
        "--workers",
        type=positive_number,
        default=_cores(),
        help="processes (default: one per core)",
    )
    parser.add_argument("--output", type=Path, help="folder of the split, e.g. data_memory/train")
    parser.add_argument(
        "--images",
        choices=IMAGE_POLICIES,
        default="keyframes",
        help="keyframes: what training reads, four cameras (default); all: every frame, five "
        "cameras and masks, RLBench's complete layout; none: no images",
    )
    parser.add_argument(
        "--image-size", type=positive_number, default=128, help="pixels per side (128)"
    )
    parser.add_argument(
        "--max-attempts", type=positive_number, default=10, help="tries per episode (10)"
    )
    parser.add_argument(
        "--perturb",
        nargs="+",
        default=[],
        metavar="FACTOR",
        help="perturbations (see --list), `all` (The Colosseum's), `extra` (the others)",
    )
    return parser


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status, 1 if a script failed at every attempt."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.list and (not args.tasks or args.output is None):
        parser.error("--tasks and --output are needed (or --list)")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    return run_command(
        lambda: list_choices() if args.list else _generate(args),
        interrupted="Interrupted; the same command goes on from here.",
    )


def _generate(args: argparse.Namespace) -> int:
    try:
        return DONE if run(build_request(args), args.workers) else FAULT
    except BrokenProcessPool as error:
        print(
            f"{type(error).__name__}: {error} Is there room in memory? Fewer --workers need less. "
            "The same command goes on from here.",
            file=sys.stderr,
        )
        return FAULT


def list_choices() -> int:
    """Print what --tasks and --perturb accept."""
    backend.require_mujoco()
    from sam2act.envs.embedded.perturbations.factors import COLOSSEUM, EXTRA, FACTORS, factors_of
    from sam2act.envs.embedded.tasks import task_class, variant_names

    tasks = backend.tasks()
    classes = {task: task_class(task) for task in tasks}
    print("tasks:")
    for task in tasks:
        print(f"  {task}{_note(task, known=classes[task].scene_known)}")
    print("variants, other than published on purpose:")
    for variant in variant_names():
        reason = (task_class(variant).__doc__ or "").partition("\n")[0]
        print(f"  {variant}: {reason}")
    print("perturbations:")
    for name, factor in FACTORS.items():
        left = [task for task in tasks if not factors_of([name], classes[task])]
        own = [task for task in tasks if not factor.in_colosseum(classes[task])]
        text = f"  {name}"
        text += f"; no effect in {', '.join(left)}" if left else ""
        text += f"; in {EXTRA} for {_most(own, tasks)}" if own else ""
        print(text)
    print(f"  {COLOSSEUM}: the factors of The Colosseum\n  {EXTRA}: the others")
    print("indices of The Colosseum (TASK_<index>; colosseum_<index>: all its tasks):")
    for index, name in enumerate(COLOSSEUM_INDICES):
        without = [task for task in COLOSSEUM_TASKS if not has_index(task, index)]
        print(f"  {index:2} {name}" + (f"; not of {', '.join(without)}" if without else ""))
    return DONE


def _note(task: str, *, known: bool) -> str:
    """What --list says of the scene of `task`."""
    if task in REAL_ROBOT_TASKS:
        return "; real-robot task, our scene"
    return "" if known else "; scene not known"


def _most(chosen: Sequence[str], tasks: Sequence[str]) -> str:
    """`chosen` tasks in words, by what is missing."""
    rest = [task for task in tasks if task not in chosen]
    return f"all tasks but {', '.join(rest)}" if rest else "all tasks"


def build_request(args: argparse.Namespace) -> Request:
    """The request that the flags describe.

    Raises:
        GenerationError: a task or a perturbation does not exist, or a number is impossible.
    """
    backend.require_mujoco()
    from sam2act.envs.embedded.perturbations.factors import check_factors

    try:
        tasks, factors = choose_tasks(args.tasks), check_factors(args.perturb)
        acting = backend.perturbed_by(tasks, factors)
    except ValueError as error:
        raise GenerationError(str(error)) from error
    if factors and not all(acting.values()):
        plain = ", ".join(task for task, names in acting.items() if not names)
        print(f"warning: these perturbations change nothing in {plain}", file=sys.stderr)
    return Request(
        tasks=tuple(tasks),
        episodes=args.episodes,
        output=args.output,
        seed=args.seed,
        images=args.images,
        image_size=args.image_size,
        max_attempts=args.max_attempts,
        perturbations=factors,
    )


def run(request: Request, workers: int) -> bool:
    """Generate, summarise, draw; whether every episode is there."""
    for folder in splits_with_equal_episodes(request.output, request.tasks, request.options):
        print(f"warning: {folder} has the same --seed: its episodes are the same", file=sys.stderr)
    jobs = missing_jobs(request)
    total, missing = request.episodes * len(request.tasks), len(jobs)
    request.output.mkdir(parents=True, exist_ok=True)
    with tqdm(total=total, initial=total - missing, unit="demo", smoothing=0.05) as bar:
        failed = 0
        for row in generate(request, workers, jobs):
            failed += len(row.failures)
            bar.set_postfix(task=row.task, failed_attempts=failed, refresh=False)
            bar.update()
    summaries = {task: request.summary(task) for task in request.tasks}
    for task, summary in summaries.items():
        print(
            f"{task}: {summary['succeeded']} of {request.episodes} demos, "
            f"{summary['succeeded_at_first_attempt']} at the first attempt, "
            f"{summary['keyframes']:.1f} keyframes on average"
        )
        if request.images != "none" and summary["succeeded"]:
            save_sheet(request, task)
    print(f"summary: {write_summary(request.output, summaries)}")
    return all(summary["succeeded"] == request.episodes for summary in summaries.values())


def save_sheet(request: Request, task: str) -> None:
    """Draw episodes of different variations at their keyframes."""
    rows: list[Row] = request.finished_rows(task)
    by_variation = {row.variation: row for row in reversed(rows)}
    chosen = sorted(by_variation.values(), key=lambda row: row.episode)[:SHEET_EPISODES]
    strips = []
    for row in chosen:
        folder = request.episode_folder(task, row.episode)
        frames = [0, *row.keyframes]
        pictures = [
            [np.asarray(Image.open(image_path(folder, camera, "rgb", f))) for f in frames]
            for camera in SHEET_CAMERAS
        ]
        title = f"{task}, episode {row.episode}, variation {row.variation}: {row.instruction}"
        strips.append(Strip(title, [f"frame {frame}" for frame in frames], pictures))
    contact_sheet(strips).save(request.output / f"{task}_contact_sheet.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
