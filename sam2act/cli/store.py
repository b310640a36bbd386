"""Builds frame stores from recorded demos, or imports released replay folders."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
from pathlib import Path

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser
from sam2act.cli.status import DONE, run_command
from sam2act.core.errors import UserError
from sam2act.core.tasks import expand_tasks
from sam2act.data.peract_replay.files import replays_below
from sam2act.data.peract_replay.replay import ReplayRequest, import_replay
from sam2act.data.rlbench.demo_folders import (
    EPISODES_FOLDER,
    listed,
    tasks_below,
    visible_folders,
    why_absent,
)
from sam2act.data.rlbench.types import DemoError
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore

# What messages call a setting -> its flag here.
FLAGS = {
    "data_folder": "--data-folder",
    "store_folder": "--store-folder",
    "replay_folder": "--replay-folder",
    "--refresh_replay": "--refresh",
    "demo and demo_start": "--demo and --demo-start",
    "image_size": "--image-size",
    "set gripper_threshold to": "pass --gripper-threshold",
    "assume_ignore_collisions to": "--assume-ignore-collisions",
    "assume_ignore_collisions": "--assume-ignore-collisions",
    "the key cameras": "--cameras",
    "(validation.split or --split)": "by --split",
    "change the task": "change --tasks",
}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(
        description="Build the frame stores that training reads. A store is reused while its "
        "settings and demos stay the same, so running this again is cheap.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data-folder",
        type=Path,
        help=f"folder that holds <split>/<task>/{EPISODES_FOLDER}/episode<N>",
    )
    source.add_argument(
        "--replay-folder",
        type=Path,
        help="import released replay pickles instead: folder that holds one folder per task",
    )
    parser.add_argument(
        "--store-folder",
        type=Path,
        required=True,
        help="where <split>/<task> is written (replay/<split>/<task> for an imported replay)",
    )
    parser.add_argument("--split", default="train", help="sub-folder of the demos and of the store")
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=[],
        help=f"{TASKS_HELP}; without it, every task that is there",
    )
    parser.add_argument("--demo", type=int, default=100, help="demos per task")
    parser.add_argument("--demo-start", type=int, default=0, help="first episode number")
    parser.add_argument(
        "--cameras",
        default=",".join(StoreRequest.cameras),
        help="comma-separated camera names, in the order of the network's input",
    )
    parser.add_argument(
        "--image-size", type=int, default=StoreRequest.image_size, help="pixels per side"
    )
    parser.add_argument(
        "--gripper-threshold",
        type=float,
        help="recorded gripper states above it are open; without it they must be 0 or 1",
    )
    parser.add_argument(
        "--assume-ignore-collisions",
        choices=("True", "False"),
        help="label of demos without ignore_collisions (upstream RLBench, The Colosseum)",
    )
    parser.add_argument(
        "--refresh", action="store_true", help="build again even if nothing has changed"
    )
    parser.add_argument(
        "--skip-bad-episodes",
        action="store_true",
        help="leave broken episodes out and list them, instead of stopping at the first one",
    )
    return parser.parse_args(arguments)


def main(argv: list[str] | None = None) -> int:
    """Builds or imports, and prints what the stores hold; the exit status."""
    options = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return run_command(lambda: _make(options))


def _make(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    try:
        store = _build(options)
    except UserError as error:
        raise type(error)(with_flags(str(error))) from error
    print(f"ready after {time.perf_counter() - started:.1f} s")
    _print_summary(store)
    return DONE


def with_flags(message: str) -> str:
    """`message` with the flags of this command for the configuration keys that it names."""
    for key, flag in FLAGS.items():
        message = re.sub(rf"(?<![\w/.-]){re.escape(key)}(?![\w/.-])", flag, message)
    return message


def _build(options: argparse.Namespace) -> KeyframeStore:
    cameras = tuple(options.cameras.split(","))
    if options.replay_folder is not None:
        source = options.replay_folder
        tasks = _tasks(options.tasks, source, replays_below(source), "<number>.replay")
        replay = ReplayRequest(
            source,
            options.store_folder,
            split=options.split,
            cameras=cameras,
            image_size=options.image_size,
        )
        return import_replay(replay, tasks, refresh=options.refresh)
    demos = options.data_folder / options.split
    if not demos.is_dir():
        raise DemoError(
            why_absent(options.data_folder, options.split, ",".join(options.tasks) or "<task>")
        )
    tasks = _tasks(options.tasks, demos, tasks_below(demos), EPISODES_FOLDER)
    request = StoreRequest(
        options.data_folder,
        options.store_folder,
        split=options.split,
        demo=options.demo,
        demo_start=options.demo_start,
        cameras=cameras,
        image_size=options.image_size,
        gripper_threshold=options.gripper_threshold,
        assume_ignore_collisions={"True": True, "False": False}.get(
            options.assume_ignore_collisions
        ),
    )
    return ensure_store(
        request, tasks, refresh=options.refresh, skip_bad_episodes=options.skip_bad_episodes
    )


def _tasks(names: list[str], folder: Path, found: list[str], sign: str) -> list[str]:
    """The tasks named, else those `found` in `folder`, which are told by their `sign`."""
    if names:
        return list(expand_tasks(names))
    if not folder.is_dir():
        raise DemoError(f"{folder}: no such folder; check --replay-folder")
    if not found:
        raise DemoError(f"{folder}: no folder in it holds {sign}; it holds no tasks")
    others = [path.name for path in visible_folders(folder) if path.name not in found]
    if others:
        logging.warning("%s: without %s, hence no tasks: %s", folder, sign, listed(others))
    return found


def _print_summary(store: KeyframeStore) -> None:
    print(f"{'task':32} {'demos':>6} {'frames':>7} {'records':>8} {'MB':>8} {'MB/record':>10}")
    for row, part in enumerate(store.task_stores):
        records = int((store.task_index[store.valid] == row).sum())
        demos = len(set(store.table["episode"][store.task_index == row].tolist()))
        size = part.num_bytes / 1e6
        print(
            f"{part.task:32} {demos:6} {part.num_frames:7} {records:8} {size:8.1f} "
            f"{size / records:10.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
