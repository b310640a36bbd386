"""Builds, checks and lists the frame stores that training reads."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, with_flags
from sam2act.cli.status import DONE, USER_ERROR, run_command
from sam2act.core.errors import UserError
from sam2act.core.registry import SOURCES
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
from sam2act.data.store.builder import ensure_tasks, open_store, open_tasks, rebuild_reasons
from sam2act.data.store.checks import warn_of_oddities
from sam2act.data.store.request import DEMOS, REPLAYS, StoreRequest
from sam2act.data.store.store import FrameStore
from sam2act.data.store.task_store import INDEX_FILE, StoreError, TaskStore

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
        description="Build the frame stores that training reads, from recorded demos, released "
        "replays or other sources. A store is reused while its settings and demos stay the same, "
        "so running this again is cheap.",
    )
    _add_places(parser)
    parser.add_argument(
        "--split", default="train", help="folder below those of demos and stores (train)"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=[],
        help=f"{TASKS_HELP}; without it, every task that is there",
    )
    parser.add_argument("--demo", type=int, default=100, help="demos per task (100)")
    parser.add_argument("--demo-start", type=int, default=0, help="first episode number (0)")
    parser.add_argument(
        "--cameras",
        default=",".join(StoreRequest.cameras),
        help="comma-separated camera names, in the order of the network's input (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=StoreRequest.image_size,
        help="pixels per side (128)",
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
    options = parser.parse_args(arguments)
    if not (options.list or options.data_folder or options.replay_folder):
        parser.error("one of --data-folder, --replay-folder and --list is needed")
    return options


def _add_places(parser: ArgumentParser) -> None:
    """What is done, where data lie and where stores do."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data-folder",
        type=Path,
        help=f"folder that holds <split>/<task>/{EPISODES_FOLDER}/episode<N>, or the data of "
        "another --source",
    )
    source.add_argument(
        "--replay-folder",
        type=Path,
        help="import released replay pickles instead: folder that holds one folder per task",
    )
    source.add_argument(
        "--list", action="store_true", help="build nothing: say which stores --store-folder holds"
    )
    parser.add_argument(
        "--store-folder",
        type=Path,
        required=True,
        help="where <split>/<task> is written (replay/<split>/<task> for an imported replay)",
    )
    parser.add_argument("--source", default=DEMOS, help="kind of data in --data-folder (rlbench)")
    parser.add_argument(
        "--dense",
        action="store_true",
        help="store every frame, for policies that are not ones of keyframes (in dense/)",
    )
    parser.add_argument("--no-depth", action="store_true", help="store colour images only")
    parser.add_argument(
        "--check",
        action="store_true",
        help="build nothing: say which stores are up to date; exit status 2 if one is not",
    )


def main(argv: list[str] | None = None) -> int:
    """Builds or imports, and prints what the stores hold; the exit status."""
    options = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return run_command(lambda: _make(options))


def _make(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    if options.list:
        return _list(options.store_folder)
    try:
        if options.check:
            return _check(options)
        stores = _build(options)
    except UserError as error:
        raise type(error)(with_flags(str(error), FLAGS)) from error
    print(f"ready in {options.store_folder} after {time.perf_counter() - started:.1f} s")
    _print_summary(stores)
    return DONE


def _build(options: argparse.Namespace) -> FrameStore | list[TaskStore]:
    """Records of keyframe chains, or the dense stores."""
    if options.replay_folder is not None:
        replay, tasks = _replay(options)
        return import_replay(replay, tasks, refresh=options.refresh)
    request, tasks = _request(options)
    ensure_tasks(
        request, tasks, refresh=options.refresh, skip_bad_episodes=options.skip_bad_episodes
    )
    if request.dense:
        return open_tasks(request, tasks)
    store = open_store(request, tasks)
    warn_of_oddities(store)
    return store


def _replay(options: argparse.Namespace) -> tuple[ReplayRequest, list[str]]:
    """What is imported.

    Raises:
        DemoError: there is nothing, or replays cannot be treated so.
    """
    folder = options.replay_folder
    if options.dense or options.no_depth:
        raise DemoError(
            "--replay-folder: replays hold keyframes with depth; leave out --dense and "
            "--no-depth, or give --data-folder"
        )
    request = ReplayRequest(
        folder,
        options.store_folder,
        split=options.split,
        cameras=tuple(options.cameras.split(",")),
        image_size=options.image_size,
    )
    return request, _tasks(options.tasks, folder, replays_below(folder), "<number>.replay")


def _request(options: argparse.Namespace) -> tuple[StoreRequest, list[str]]:
    """What is built.

    Raises:
        ConfigError: there is no source of that name.
        DemoError: no task is there, or none was named for a source of somebody else.
    """
    request = StoreRequest(
        options.data_folder,
        options.store_folder,
        split=options.split,
        demo=options.demo,
        demo_start=options.demo_start,
        cameras=tuple(options.cameras.split(",")),
        image_size=options.image_size,
        gripper_threshold=options.gripper_threshold,
        assume_ignore_collisions={"True": True, "False": False}.get(
            options.assume_ignore_collisions
        ),
        source=options.source,
        dense=options.dense,
        depth=not options.no_depth,
    )
    SOURCES.check(options.source)
    if options.source == REPLAYS:
        raise DemoError(f"--source {REPLAYS}: name the folder of replays with --replay-folder")
    if options.source == DEMOS:
        return request, _demo_tasks(options)
    if not options.tasks:
        raise DemoError(f"--tasks: name the tasks of --source {options.source}")
    return request, list(expand_tasks(options.tasks))


def _demo_tasks(options: argparse.Namespace) -> list[str]:
    """The tasks with recorded demos that are meant."""
    demos = options.data_folder / options.split
    if not demos.is_dir():
        raise DemoError(
            why_absent(options.data_folder, options.split, ",".join(options.tasks) or "<task>")
        )
    return _tasks(options.tasks, demos, tasks_below(demos), EPISODES_FOLDER)


def _check(options: argparse.Namespace) -> int:
    """Prints which stores are up to date; the exit status."""
    if options.replay_folder is not None:
        replay, tasks = _replay(options)
        reasons = {task: replay.rebuild_reason(task) for task in tasks}
    else:
        request, tasks = _request(options)
        reasons = rebuild_reasons(request, tasks)
    for task, reason in reasons.items():
        print(f"{task:32} {f'would be built: {reason}' if reason else 'up to date'}")
    return USER_ERROR if any(reasons.values()) else DONE


def _list(folder: Path) -> int:
    """Prints the stores below a folder, those of other formats too."""
    found = sorted(path.parent for path in folder.rglob(INDEX_FILE))
    if not found:
        raise StoreError(f"{folder}: holds no frame stores; check --store-folder")
    name = max(len(str(path.relative_to(folder))) for path in found)
    print(f"{'store':{name}} {'demos':>6} {'frames':>7} {'MB':>8}  what it holds")
    for path in found:
        try:
            store = TaskStore(path)
        except StoreError as error:
            print(f"{path.relative_to(folder)!s:{name}} {error}")
            continue
        index = store.index
        frames = "every frame" if index["dense"] else "frames of keyframe chains"
        images = "colour and depth" if store.depth else "colour"
        print(
            f"{path.relative_to(folder)!s:{name}} {len(index['episodes']):6} {store.num_frames:7} "
            f"{store.num_bytes / 1e6:8.1f}  {index['origin']}: {frames}, {images}, {store.form}"
        )
    return DONE


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


def _print_summary(stores: FrameStore | list[TaskStore]) -> None:
    if isinstance(stores, list):
        print(f"{'task':32} {'demos':>6} {'frames':>7} {'MB':>8} {'MB/frame':>10}")
        for part in stores:
            size, frames = part.num_bytes / 1e6, part.num_frames
            demos = len(part.index["episodes"])
            print(f"{part.task:32} {demos:6} {frames:7} {size:8.1f} {size / frames:10.3f}")
        return
    print(f"{'task':32} {'demos':>6} {'frames':>7} {'records':>8} {'MB':>8} {'MB/record':>10}")
    for row, part in enumerate(stores.task_stores):
        records = int((stores.task_index[stores.valid] == row).sum())
        demos = len(stores.episodes_of(row))
        size = part.num_bytes / 1e6
        print(
            f"{part.task:32} {demos:6} {part.num_frames:7} {records:8} {size:8.1f} "
            f"{size / records:10.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
