#!/usr/bin/env python3
"""Compare the embedded simulator's robot and cameras with recorded RLBench demonstrations.

    sam2act compare-recordings --data DIR --output comparison.png --json figures.json

DIR holds <split>/open_drawer/all_variations/episodes. The recorded joint angles are set, the
cabinet is put where the recorded gripper grasped its handle, and every fixed camera is rendered.
Of the pixels that show our robot, the figure is the share whose recorded depth is within 2 cm. The
picture shows recorded image, rendered image and agreement (green: within, red: not) side by side.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from sam2act.cli.arguments import ArgumentParser, positive_number, with_flags
from sam2act.cli.status import DONE, run_command
from sam2act.data.rlbench.demo_folders import episode_folders, episodes_folder
from sam2act.data.rlbench.demo_images import read_images
from sam2act.data.rlbench.demos import Episode, camera_arrays, episode_keyframes, read_episode
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.embedded.kit import parts
from sam2act.envs.embedded.kit.mjcf import Fragment
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT, model_text
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.sensors.camera import RayCamera
from sam2act.geometry.cameras import decode_depth

TASK = "open_drawer"
CAMERAS = ("front", "left_shoulder", "right_shoulder")
SIDE = 128
TOLERANCE = 0.02  # metres
GREEN, RED = (0, 160, 0), (255, 0, 0)


@dataclass
class Comparison:
    """One camera in one frame."""

    camera: str
    recorded: np.ndarray  # (H, W, 3) uint8
    rendered: np.ndarray  # (H, W, 3) uint8
    robot: np.ndarray  # (H, W) bool: our render shows the robot
    agrees: np.ndarray  # (H, W) bool: recorded depth within the tolerance

    def picture(self) -> np.ndarray:
        """(3 H, W, 3) uint8: recorded, rendered, agreement."""
        mask = np.full_like(self.rendered, 40)
        mask[self.robot & self.agrees] = GREEN
        mask[self.robot & ~self.agrees] = RED
        return np.concatenate([self.recorded, self.rendered, mask])


class RecordedScene:
    """Workspace, robot and cabinet without physics."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(model_text(Fragment(parts.drawer_unit())))
        self.data = mujoco.MjData(self.model)
        self.camera = RayCamera(self.model, SIDE)
        names = [self.model.body(body).name for body in self.model.geom_bodyid]
        self.is_robot = np.array([name in panda.ROBOT_BODIES for name in names] + [False])

    def put_cabinet(self, episode: Episode) -> None:
        """Place it so that its handle is where the gripper closed (the second keyframe)."""
        pose = episode.demo[episode_keyframes(episode)[1]].gripper_pose
        outwards = -Rotation.from_quat(pose[3:]).as_matrix()[:, 2]
        front = pose[:3] - outwards * parts.HANDLE_GRASP
        half_yaw = np.arctan2(-outwards[0], outwards[1]) / 2
        cabinet = self.model.body("cabinet")
        cabinet.pos[:] = [*front[:2], TABLE_HEIGHT]
        cabinet.quat[:] = [np.cos(half_yaw), 0, 0, np.sin(half_yaw)]

    def set_frame(self, episode: Episode, frame: int) -> None:
        """Recorded joint angles; after the grasp the drawer follows the gripper."""
        observation, keyframe = episode.demo[frame], episode_keyframes(episode)[1]
        self.data.qpos[:] = 0
        self.data.qpos[:7] = panda.from_rlbench_joints(
            getattr(observation, "joint_positions")  # noqa: B009 (recorded, not declared)
        )
        self.data.qpos[7:9] = np.clip(observation.gripper_joint_positions, 0, panda.FINGER_TRAVEL)
        grasp = episode.demo[keyframe].gripper_pose
        outwards = -Rotation.from_quat(grasp[3:]).as_matrix()[:, 2]
        pulled = max(0.0, float((observation.gripper_pose[:3] - grasp[:3]) @ outwards))
        drawer = self.data.joint(f"drawer_joint_{parts.DRAWERS[episode.variation_number]}")
        drawer.qpos[0] = pulled if frame > keyframe else 0.0
        mujoco.mj_kinematics(self.model, self.data)


def compare(episode: Episode, every: int) -> Iterator[Comparison]:
    """Every camera of every `every`-th frame of an episode."""
    scene = RecordedScene()
    scene.put_cabinet(episode)
    frames = list(range(0, len(episode.demo), every))
    images = read_images(episode.folder, frames, CAMERAS, SIDE)
    near, far = torch.from_numpy(camera_arrays(episode, frames, CAMERAS).depth_range).unbind(-1)
    depths = decode_depth(torch.from_numpy(images[:, 1]), near, far).numpy()
    for number, frame in enumerate(frames):
        scene.set_frame(episode, frame)
        for index, camera in enumerate(CAMERAS):
            image = scene.camera.render(scene.data, camera)
            yield Comparison(
                camera,
                images[number, 0, index],
                image.rgb,
                scene.is_robot[image.geom],
                np.abs(image.depth - depths[number, index]) < TOLERANCE,
            )


def read_recordings(root: Path, split: str) -> list[Episode]:
    """The recorded episodes of open_drawer.

    Raises:
        DemoError: there are none, or they were made here.
    """
    folder = episodes_folder(root, split, TASK)
    try:
        folders = episode_folders(root, split, TASK)
    except DemoError as error:
        raise DemoError(with_flags(str(error), {"data_folder": "--data"})) from error
    episodes = [read_episode(path) for path in folders.values()]
    recorded = [e for e in episodes if e.demo[0].misc.get("backend") != "embedded"]
    if not recorded:
        raise DemoError(f"{folder}: no episodes recorded in RLBench; set --data and --split")
    return recorded


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="demos, DIR/<split>/open_drawer")
    parser.add_argument("--split", default="train", help="split below it (default: train)")
    parser.add_argument(
        "--every",
        type=positive_number,
        default=10,
        help="compare every N-th frame (10)",
    )
    parser.add_argument("--output", type=Path, help="PNG to write")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _run(args), (DemoError,))


def _run(args: argparse.Namespace) -> int:
    counts = {camera: np.zeros(2) for camera in CAMERAS}
    columns = []
    for episode in read_recordings(args.data, args.split):
        comparisons = list(compare(episode, args.every))
        for item in comparisons:
            counts[item.camera] += [(item.robot & item.agrees).sum(), item.robot.sum()]
        shown = len(CAMERAS) * (len(comparisons) // len(CAMERAS) // 2)
        columns += [item.picture() for item in comparisons[shown : shown + len(CAMERAS)]]
    shares = {camera: float(agree / total) for camera, (agree, total) in counts.items()}
    for camera, share in shares.items():
        pixels = int(counts[camera][1])
        print(f"{camera:15s} {share:.1%} of {pixels} robot pixels within {TOLERANCE * 100:.0f} cm")
    if args.output:
        Image.fromarray(np.concatenate(columns, axis=1)).save(args.output)
    if args.json:
        args.json.write_text(json.dumps(shares, indent=1) + "\n", encoding="utf-8")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
