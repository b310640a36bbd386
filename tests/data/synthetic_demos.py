"""Small made-up demos in the RLBench layout, for tests that need an episode folder.

The cameras look at the centre of the scene bounds, and most points lie inside the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam2act.data.rlbench.demo_folders import episodes_folder
from sam2act.data.rlbench.demo_images import image_path
from sam2act.data.rlbench.keyframes import find_keyframes
from sam2act.data.rlbench.types import Demo, RecordedObservation, dump_published
from sam2act.data.transitions import START_EVERY

CAMERAS = ("front", "wrist")
IMAGE_SIZE = 16
KEYFRAMES = (12, 17, 29)
SCENE_CENTRE = np.array([0.2, 0.0, 1.1])  # metres
CAMERA_DISTANCE = 1.2  # metres
NEAR, FAR = 0.01, 3.5


def write_synthetic_demo(
    folder: str | Path,
    *,
    keyframes: Sequence[int] = KEYFRAMES,
    cameras: Sequence[str] = CAMERAS,
    image_size: int = IMAGE_SIZE,
    seed: int = 0,
    instruction: str = "open the drawer",
    images: str = "sparse",
) -> Demo:
    """Writes one episode folder, e.g. `.../episodes/episode0`, and returns what was written.

    Args:
        folder: the episode folder.
        keyframes: the keyframes that the heuristic shall find; the last one ends the demo. Keep
            them at least five frames apart and the first one above 2.
        cameras: camera names.
        image_size: pixels per side.
        seed: two demos of different seeds differ in everything.
        instruction: first description.
        images: "all" frames, "sparse" (frame 0, every tenth, keyframes) or "none".
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    num_frames = keyframes[-1] + 1
    demo = Demo(_observations(random, num_frames, keyframes, cameras, image_size), seed)
    velocities = np.stack([o.joint_velocities for o in demo])
    found = find_keyframes(velocities, [o.gripper_open for o in demo])
    assert found == list(keyframes), f"keyframes {keyframes} cannot be made, got {found}"
    dump_published(demo, folder / "low_dim_obs.pkl")
    dump_published([instruction, f"please {instruction}"], folder / "variation_descriptions.pkl")
    dump_published(seed, folder / "variation_number.pkl")
    frames = {
        "all": set(range(num_frames)),
        "sparse": set(range(0, num_frames, START_EVERY)) | set(keyframes),
        "none": set(),
    }[images]
    _write_images(folder, random, sorted(frames), cameras, image_size)
    return demo


def write_synthetic_task(
    root: str | Path,
    *,
    task: str = "open_drawer",
    split: str = "train",
    episodes: int | Sequence[int] = 2,
    **options: Any,
) -> list[Demo]:
    """Writes several episodes of `task`, each with its number as seed; see the single demo."""
    numbers = range(episodes) if isinstance(episodes, int) else episodes
    folder = episodes_folder(root, split, task)
    return [
        write_synthetic_demo(folder / f"episode{number}", **{"seed": number, **options})
        for number in numbers
    ]


def _observations(
    random: np.random.Generator,
    num_frames: int,
    keyframes: Sequence[int],
    cameras: Sequence[str],
    image_size: int,
) -> list[RecordedObservation]:
    """Arm at rest exactly at the keyframes, gripper toggled at every second one."""
    observations = []
    gripper_open = 1.0
    for frame in range(num_frames):
        if frame in keyframes[1::2]:
            gripper_open = 1.0 - gripper_open
        quaternion = random.standard_normal(4)
        position = SCENE_CENTRE + random.uniform(-0.4, 0.4, 3)
        observations.append(
            RecordedObservation(
                joint_velocities=np.full(7, 0.0 if frame in keyframes else 1.0),
                gripper_open=gripper_open,
                gripper_pose=np.concatenate([position, quaternion / np.linalg.norm(quaternion)]),
                gripper_joint_positions=random.uniform(-0.01, 0.05, 2),
                ignore_collisions=np.array(float(random.integers(2))),
                misc=_calibration(cameras, image_size, frame / num_frames),
            )
        )
    return observations


def _calibration(cameras: Sequence[str], image_size: int, progress: float) -> dict[str, Any]:
    """Cameras on a circle around the scene; those called wrist move along it."""
    misc: dict[str, Any] = {}
    for index, camera in enumerate(cameras):
        angle = 2 * np.pi * index / len(cameras) + (0.3 * progress if camera == "wrist" else 0.0)
        forward = -np.array([np.cos(angle), np.sin(angle), 0.8])
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([-right, -np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = SCENE_CENTRE - CAMERA_DISTANCE * forward
        focal = -image_size * 0.9  # negative, as in recorded demos
        half = image_size / 2
        misc[f"{camera}_camera_extrinsics"] = pose
        misc[f"{camera}_camera_intrinsics"] = np.array(
            [[focal, 0.0, half], [0.0, focal, half], [0.0, 0.0, 1.0]]
        )
        misc[f"{camera}_camera_near"] = NEAR
        misc[f"{camera}_camera_far"] = FAR
    return misc


def _write_images(
    folder: Path,
    random: np.random.Generator,
    frames: Sequence[int],
    cameras: Sequence[str],
    image_size: int,
) -> None:
    for frame in frames:
        for camera in cameras:
            colour = random.integers(0, 256, (image_size, image_size, 3), np.uint8)
            metres = CAMERA_DISTANCE + random.uniform(-0.2, 0.2, (image_size, image_size))
            code = np.floor((metres - NEAR) / (FAR - NEAR) * (2**24 - 1) + 0.5).astype(np.int64)
            depth = np.stack([code >> 16, code >> 8 & 255, code & 255], axis=-1).astype(np.uint8)
            for kind, pixels in (("rgb", colour), ("depth", depth)):
                path = image_path(folder, camera, kind, frame)
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(pixels).save(path)
