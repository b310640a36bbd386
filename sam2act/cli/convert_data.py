#!/usr/bin/env python3
"""Converts recorded episodes between the formats of this and other projects, without loss.

  # demos -> a LeRobot data set of version 3, and back
  sam2act convert-data --from rlbench --input data --to lerobot --output there --tasks open_drawer
  sam2act convert-data --from lerobot --input there --to rlbench --output back --tasks open_drawer
  # a recording of any size -> demos of 128 x 128 pixels to train on
  sam2act convert-data --from lerobot --input mine --to rlbench --output data --tasks pick \\
      --image-size 128
  # for trainings of keyframe policies in LeRobot: the first frame and the keyframes of each demo
  sam2act convert-data --from rlbench --input data --to lerobot --output there \\
      --tasks open_drawer --frames keyframes

Formats: rlbench (demos of RLBench and of the embedded simulator, with all images), lerobot, zarr
(replay buffers of Diffusion Policy). Only --to: flowmatch (samples of 3D FlowMatch Actor, which
keep points instead of depth and calibration). Run again after an interruption, it goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, positive_number
from sam2act.cli.status import DONE, run_command
from sam2act.core.tasks import expand_tasks
from sam2act.data.crops import cropped
from sam2act.data.exchange import EpisodeReader, EpisodeWriter, PlainEpisode, copy_episodes
from sam2act.data.keyframe_marks import read_marks, with_keyframes
from sam2act.data.keyframes_only import keyframes_only
from sam2act.data.lerobot.layout import find_data_set
from sam2act.data.lerobot.reader import LeRobotReader
from sam2act.data.lerobot.writer import COLOURS, LeRobotWriter
from sam2act.data.rlbench.exchange import DemoReader, DemoWriter
from sam2act.data.zarr.files import find_store
from sam2act.data.zarr.flowmatch import FlowMatchWriter
from sam2act.data.zarr.replay_buffer import BufferReader
from sam2act.data.zarr.replay_buffer_writer import BufferWriter

FORMATS = ("rlbench", "lerobot", "zarr")
SAMPLES = "flowmatch"  # can be written only
ALL, KEYFRAMES = "all", "keyframes"  # frames that are kept


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--from", dest="origin", choices=FORMATS, required=True, help="format of --input")
    add("--input", type=Path, required=True, help="data folder, or one data set or store")
    add(
        "--to", dest="target", choices=(*FORMATS, SAMPLES), required=True, help="format of --output"
    )
    add("--output", type=Path, required=True, help="another folder for the result")
    add("--tasks", nargs="+", required=True, help=TASKS_HELP)
    add("--split", default="train", help="split below both folders (train)")
    add("--episodes", type=positive_number, help="only so many of each task, the first ones")
    add("--cameras", help="comma-separated names, of rlbench demos (all that were recorded)")
    add(
        "--colours",
        choices=COLOURS,
        default=COLOURS[0],
        help="of lerobot: png pictures or lossless video, or h264 video, which loses some (png)",
    )
    add("--zarr-format", type=int, choices=(2, 3), default=2, help="of zarr (2)")
    add(
        "--frames",
        choices=(ALL, KEYFRAMES),
        default=ALL,
        help="of lerobot: all, or only the first frame and the keyframes of each episode (all)",
    )
    add("--keyframes", type=Path, help='JSON file of marks by hand: {"0": [12, 40], ...}')
    add("--image-size", type=positive_number, help="crop and thin out pictures to such squares")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.frames == KEYFRAMES and options.target != "lerobot":
        parser.error(f"--frames keyframes is for --to lerobot, not {options.target}")
    return run_command(lambda: _convert(options))


def _convert(options: argparse.Namespace) -> int:
    for task in expand_tasks(options.tasks):
        cameras = options.cameras.split(",") if options.cameras else None
        reader = open_reader(options.origin, options.input, options.split, task, cameras)
        writer = _writer(options, task, reader.rate)
        there, total = writer.written(), len(list(reader.episodes())[: options.episodes])
        copied = copy_episodes(reader, writer, options.episodes, _change(options, task))
        for _ in tqdm(copied, task, total, unit="episode", initial=there):
            pass
        print(f"{task}: {writer.written()} episodes in {options.output}, {there} of them before")
    return DONE


def _change(options: argparse.Namespace, task: str) -> Callable[[PlainEpisode, int], PlainEpisode]:
    """What is made of each episode on its way."""
    marks: Path | None = options.keyframes
    marked = read_marks(marks) if marks else {}

    def change(episode: PlainEpisode, number: int) -> PlainEpisode:
        if number in marked:
            episode = with_keyframes(episode, marked[number], f"{marks}: episode {number}")
        if options.frames == KEYFRAMES:
            episode = keyframes_only(episode, f"{options.input}: episode {number} of {task}")
        return episode if options.image_size is None else cropped(episode, options.image_size)

    return change


def open_reader(
    form: str, folder: Path, split: str, task: str, cameras: Sequence[str] | None = None
) -> EpisodeReader:
    """Who reads the episodes of a task.

    Raises:
        UserError: there are none, or they are damaged.
    """
    if form == "lerobot":
        return LeRobotReader(find_data_set(folder, split, task))
    if form == "zarr":
        return BufferReader(find_store(folder, split, task), task)
    return DemoReader(folder, split, task, cameras)


def _writer(options: argparse.Namespace, task: str, rate: float) -> EpisodeWriter:
    """Who writes them."""
    folder, split = options.output, options.split
    if options.target == "lerobot":
        return LeRobotWriter(folder / split / task, rate, colours=options.colours)
    if options.target == "zarr":
        return BufferWriter(folder / split / f"{task}.zarr", rate, options.zarr_format)
    if options.target == SAMPLES:
        cameras = options.cameras.split(",") if options.cameras else []
        return FlowMatchWriter(folder / f"{split}.zarr", task, cameras, options.zarr_format)
    return DemoWriter(folder, split, task)


if __name__ == "__main__":
    sys.exit(main())
