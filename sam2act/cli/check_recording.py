#!/usr/bin/env python3
"""Makes a page by which you check a recording: calibration, cloud, gripper pose and keyframes.

  sam2act check-recording --from lerobot --input recorded --task pick --episode 0 \\
      --scene-bounds -0.3 -0.5 0.6 0.7 0.5 1.6 --output check.html

The page shows every camera with the axes of the gripper and the points of the other cameras, the
cloud from above and from the side, and which frames are keyframes. For continuous grippers give
--gripper-threshold, as in training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.convert_data import FORMATS, open_reader
from sam2act.cli.status import DONE, run_command
from sam2act.core.errors import UserError
from sam2act.data.exchange import (
    DEPTH_CODE,
    DEPTH_RANGE,
    EXTRINSICS,
    INTRINSICS,
    RGB,
    PlainEpisode,
)
from sam2act.data.recorded_rules import Source, gripper_states
from sam2act.data.rlbench.keyframes import find_keyframes
from sam2act.geometry.cameras import measured_depth, unproject
from sam2act.reports.recording_page import CameraView, Recording, recording_page

BOUNDS = (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)  # of the published tasks
NEEDED = ("gripper_pose", "gripper_open", "joint_velocities")


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--from", dest="origin", choices=FORMATS, required=True, help="format of --input")
    add("--input", type=Path, required=True, help="data folder, or one data set or store")
    add("--task", required=True, help="name of the task")
    add("--split", default="train", help="split below the folder (train)")
    add("--episode", type=int, default=0, help="its number (0)")
    add("--frame", type=int, help="frame that is shown (the first keyframe)")
    add("--scene-bounds", type=float, nargs=6, default=BOUNDS, help="as in training")
    add("--gripper-threshold", type=float, help="gripper states above it are open")
    add("--output", type=Path, default=Path("check.html"), help="the page (check.html)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    options = build_parser().parse_args(argv)
    return run_command(lambda: _check(options))


def _check(options: argparse.Namespace) -> int:
    reader = open_reader(options.origin, options.input, options.split, options.task)
    episode = reader.read(options.episode)
    place = options.input / options.task / f"episode {options.episode}"
    lacking = [name for name in NEEDED if name not in episode.numbers]
    if lacking:
        raise UserError(
            f"{place}: has no {', '.join(lacking)} (it has {', '.join(episode.numbers)}); record "
            "them, as docs/own_robot.md shows"
        )
    keyframes = keyframes_of(episode, place, options.gripper_threshold)
    frame = keyframes[0] if options.frame is None else options.frame
    if not 0 <= frame < episode.length:
        raise UserError(f"--frame {frame}: the episode has frames 0 to {episode.length - 1}")
    camera = episode.cameras[0] + RGB
    page = recording_page(
        Recording(
            title=f"{options.task}, episode {options.episode}: {episode.instructions[0]}",
            views={name: camera_view(episode, name, frame) for name in episode.cameras},
            frame=frame,
            gripper_pose=episode.numbers["gripper_pose"][frame].astype(np.float64),
            bounds=options.scene_bounds,
            speeds=np.abs(episode.numbers["joint_velocities"]).max(axis=1),
            gripper_open=episode.numbers["gripper_open"].reshape(-1),
            keyframes=keyframes,
            pictures=[episode.image(camera, keyframe) for keyframe in keyframes],
        )
    )
    page.write(options.output)
    print(f"{len(keyframes)} keyframes: {', '.join(map(str, keyframes))}")
    print(f"written: {options.output}")
    return DONE


def keyframes_of(episode: PlainEpisode, place: Path, threshold: float | None) -> list[int]:
    """Those marked by hand, else those of the heuristic.

    Raises:
        UserError: the gripper states are not 0 or 1 and there is no threshold.
    """
    if episode.facts.get("keyframes"):
        return list(episode.facts["keyframes"])
    states = episode.numbers["gripper_open"].reshape(-1).astype(np.float64)
    source = Source.frames(place, range(episode.length))
    opened = gripper_states(source, states, threshold)
    return find_keyframes(episode.numbers["joint_velocities"], opened.tolist())


def camera_view(episode: PlainEpisode, camera: str, frame: int) -> CameraView:
    """What a camera saw in a frame.

    Raises:
        UserError: it has no depth or calibration.
    """
    parts = [camera + part for part in (DEPTH_CODE, DEPTH_RANGE, INTRINSICS, EXTRINSICS)]
    lacking = [part for part in parts if part not in {**episode.numbers, **episode.images}]
    if lacking:
        raise UserError(f"camera {camera} has no {', '.join(lacking)}; record depth and matrices")
    code = torch.from_numpy(np.array(episode.image(parts[0], frame)))
    near, far = torch.from_numpy(episode.numbers[parts[1]][frame].astype(np.float64))
    intrinsics, extrinsics = (episode.numbers[part][frame] for part in parts[2:])
    matrices = (torch.from_numpy(np.array(m, np.float64)) for m in (intrinsics, extrinsics))
    points = unproject(measured_depth(code, near, far), *matrices).numpy()
    return CameraView(episode.image(camera + RGB, frame), points, intrinsics, extrinsics)


if __name__ == "__main__":
    sys.exit(main())
