"""Reading episode folders in the RLBench layout.

`<root>/<split>/<task>/all_variations/episodes/episode<N>/` holds `<camera>_rgb/<frame>.png`,
`<camera>_depth/<frame>.png` and three pickles. `read_episode` touches the pickles only; images are
read by frame number, so episodes may lack the ones that nobody asks for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam2act.data.demo_folders import episodes_folder, why_absent
from sam2act.data.keyframes import find_keyframes
from sam2act.data.recorded_rules import Source, check_poses, flags, gripper_states
from sam2act.data.rlbench_types import Demo, DemoError, load_restricted
from sam2act.data.transitions import FrameLabels

LOW_DIM_FILE = "low_dim_obs.pkl"
DESCRIPTIONS_FILE = "variation_descriptions.pkl"
VARIATION_FILE = "variation_number.pkl"
PICKLE_FILES = (LOW_DIM_FILE, DESCRIPTIONS_FILE, VARIATION_FILE)
IMAGE_KINDS = ("rgb", "depth")
_DECODER_THREADS = 4


class CameraArrays(NamedTuple):
    """Calibration of F frames and K cameras."""

    depth_range: np.ndarray  # (F, K, 2) float64: near, far in metres
    intrinsics: np.ndarray  # (F, K, 3, 3) float64
    extrinsics: np.ndarray  # (F, K, 4, 4) float64, T_world_from_camera


@dataclass(frozen=True)
class Episode:
    """The pickles of one episode folder."""

    folder: Path
    number: int
    demo: Demo
    instruction: str  # the first description; the others are never used
    descriptions: tuple[str, ...]
    variation_number: int

    @property
    def random_seed(self) -> tuple | int | None:
        """What re-creates the scene: a Mersenne-Twister state or a plain integer."""
        return getattr(self.demo, "random_seed", None)


def list_episodes(root: str | Path, split: str, task: str) -> list[int]:
    """The episode numbers present on disk, increasing.

    Raises:
        DemoError: the folder of the task is absent.
    """
    folder = episodes_folder(root, split, task)
    if not folder.is_dir():
        raise DemoError(why_absent(root, split, task))
    matches = (re.fullmatch(r"episode(\d+)", entry.name) for entry in folder.iterdir())
    return sorted(int(match.group(1)) for match in matches if match)


def read_episode(folder: str | Path) -> Episode:
    """The pickles of episode folder `folder`; no image is touched.

    Raises:
        DemoError: a pickle is absent, damaged or holds something else than a demo.
    """
    folder = Path(folder)
    match = re.fullmatch(r"episode(\d+)", folder.name)
    if match is None:
        raise DemoError(f"{folder}: an episode folder is named episode<number>")
    demo = load_restricted(folder / LOW_DIM_FILE)
    if not isinstance(demo, Demo) or not isinstance(getattr(demo, "_observations", None), list):
        raise DemoError(
            f"{folder / LOW_DIM_FILE}: holds {type(demo).__name__} instead of an RLBench demo; "
            "record the episode again"
        )
    descriptions = _read_descriptions(folder / DESCRIPTIONS_FILE)
    return Episode(
        folder=folder,
        number=int(match.group(1)),
        demo=demo,
        instruction=descriptions[0],
        descriptions=descriptions,
        variation_number=_read_variation(folder / VARIATION_FILE),
    )


def _read_descriptions(path: Path) -> tuple[str, ...]:
    content = load_restricted(path)
    if not isinstance(content, (list, tuple)) or not content or not isinstance(content[0], str):
        raise DemoError(f"{path}: needs a list with at least one instruction")
    return tuple(content)


def _read_variation(path: Path) -> int:
    content = load_restricted(path)
    if not isinstance(content, (int, np.integer)):
        raise DemoError(f"{path}: needs an integer, got {type(content).__name__}")
    return int(content)


def frame_labels(episode: Episode, gripper_threshold: float | None = None) -> FrameLabels:
    """Gripper and collision data of every frame.

    Args:
        episode: a demo.
        gripper_threshold: gripper states above it are open; None = they are 0 or 1.

    Raises:
        DemoError: a frame lacks one of the fields, or breaks a rule about its values.
    """
    source = _low_dim_source(episode)
    poses = _field(episode, "gripper_pose", (7,))
    check_poses(source, poses)
    return FrameLabels(
        gripper_open=_gripper_states(episode, gripper_threshold),
        finger_joints=_field(episode, "gripper_joint_positions", (2,)),
        gripper_pose=poses,
        ignore_collisions=flags(
            source, "ignore_collisions", _field(episode, "ignore_collisions", ())
        ),
    )


def _low_dim_source(episode: Episode) -> Source:
    return Source.frames(episode.folder / LOW_DIM_FILE, range(len(episode.demo)))


def _gripper_states(episode: Episode, threshold: float | None) -> np.ndarray:
    states = _field(episode, "gripper_open", ())
    return gripper_states(_low_dim_source(episode), states, threshold)


def episode_keyframes(episode: Episode, gripper_threshold: float | None = None) -> list[int]:
    """The keyframes of `episode`; for the threshold see `frame_labels`.

    Raises:
        DemoError: the demo has fewer than two frames and hence no keyframe, or a gripper state
            has no meaning.
    """
    keyframes: list[int] = []
    if len(episode.demo) > 1:
        velocities = _field(episode, "joint_velocities", None)
        states = _gripper_states(episode, gripper_threshold)
        keyframes = find_keyframes(velocities, states.tolist())
    if not keyframes:
        raise DemoError(
            f"{episode.folder / LOW_DIM_FILE}: a demo of {len(episode.demo)} frames has no "
            "keyframes; record the episode again or leave it out"
        )
    return keyframes


def _field(episode: Episode, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """(T, *shape) float64: one attribute of all frames; shape None accepts any."""
    try:
        values = np.stack([np.asarray(getattr(o, name), np.float64) for o in episode.demo])
    except (AttributeError, TypeError, ValueError) as error:
        raise DemoError(
            f"{episode.folder / LOW_DIM_FILE}: {name} is missing or malformed in a frame ({error})"
        ) from error
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise DemoError(
            f"{episode.folder / LOW_DIM_FILE}: {name} is missing in frame {int(finite.argmin())} "
            "(a value is not finite); record the episode again"
        )
    if shape is not None and values.shape[1:] != shape:
        raise DemoError(
            f"{episode.folder / LOW_DIM_FILE}: {name} has shape {values.shape[1:]} per frame "
            f"instead of {shape}"
        )
    return values


def camera_arrays(episode: Episode, frames: Sequence[int], cameras: Sequence[str]) -> CameraArrays:
    """Calibration of `cameras` in `frames`.

    Raises:
        DemoError: the demo holds no calibration of a camera.
    """
    near_far, intrinsics, extrinsics = [], [], []
    for frame in frames:
        misc = getattr(episode.demo[frame], "misc", None)
        for camera in cameras:
            values = _calibration(episode, misc, frame, camera)
            near_far.append((values["near"], values["far"]))
            intrinsics.append(values["intrinsics"])
            extrinsics.append(values["extrinsics"])
    shape = (len(frames), len(cameras))
    return CameraArrays(
        np.array(near_far, np.float64).reshape(*shape, 2),
        np.array(intrinsics, np.float64).reshape(*shape, 3, 3),
        np.array(extrinsics, np.float64).reshape(*shape, 4, 4),
    )


def _calibration(episode: Episode, misc: Any, frame: int, camera: str) -> dict[str, np.ndarray]:
    shapes = {"near": (), "far": (), "intrinsics": (3, 3), "extrinsics": (4, 4)}
    values = {}
    for kind, shape in shapes.items():
        key = f"{camera}_camera_{kind}"
        value = misc.get(key) if isinstance(misc, dict) else None
        if value is None or np.shape(value) != shape:
            raise DemoError(
                f"{episode.folder / LOW_DIM_FILE}: misc of frame {frame} has no usable {key!r}; "
                "record the episode with this camera or take it out of the key cameras"
            )
        values[kind] = np.asarray(value, np.float64)
    return values


def image_path(folder: Path, camera: str, kind: str, frame: int) -> Path:
    """The PNG of one camera and frame; `kind` is "rgb", "depth" or "mask"."""
    return folder / f"{camera}_{kind}" / f"{frame}.png"


def read_images(
    folder: str | Path, frames: Sequence[int], cameras: Sequence[str], image_size: int
) -> np.ndarray:
    """Colour and depth images of `frames`, (F, 2, K, H, W, 3) uint8.

    Axis 1: colour, then the 24-bit depth code (high byte first). PNGs of other frames may be
    absent.

    Raises:
        DemoError: a PNG is absent, damaged or has another size than `image_size`.
    """
    folder = Path(folder)
    paths = [
        image_path(folder, camera, kind, frame)
        for frame in frames
        for kind in IMAGE_KINDS
        for camera in cameras
    ]
    images = np.empty((len(paths), image_size, image_size, 3), np.uint8)

    def read_into(index: int) -> None:
        images[index] = _read_png(paths[index], image_size)

    with ThreadPoolExecutor(_DECODER_THREADS) as pool:  # decoding releases the interpreter lock
        list(pool.map(read_into, range(len(paths))))
    return images.reshape(len(frames), 2, len(cameras), image_size, image_size, 3)


def check_png(path: Path, image_size: int) -> None:
    """Compare size and checksums of a PNG without decoding it.

    Raises:
        DemoError: it is absent, damaged or has another size than `image_size`.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            size = image.size
            image.verify()
    except (OSError, SyntaxError, ValueError) as error:
        raise DemoError(f"{path}: absent or damaged ({error})") from error
    if size != (image_size, image_size):
        raise DemoError(f"{path}: {size[0]} x {size[1]} pixels instead of {image_size}")


def _read_png(path: Path, image_size: int) -> np.ndarray:
    """(H, W, 3) uint8 pixels of one PNG."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.size != (image_size, image_size):
                raise DemoError(
                    f"{path}: the image has {image.size[0]} x {image.size[1]} pixels, but "
                    f"image_size is {image_size}; set it to the size of the recorded images"
                )
            if image.mode not in ("RGB", "RGBA"):
                raise DemoError(
                    f"{path}: mode {image.mode} instead of 8-bit RGB; record the episode again"
                )
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise DemoError(
            f"{path}: this frame is needed for training but absent; copy the episode completely "
            "(frame 0, every tenth frame and the keyframes of every camera)"
        ) from error
    except (OSError, SyntaxError) as error:
        raise DemoError(
            f"{path}: the image is damaged ({error}); copy or record the episode again"
        ) from error
