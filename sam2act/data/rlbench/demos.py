"""Reading the pickles of episode folders in the RLBench layout.

`<root>/<split>/<task>/all_variations/episodes/episode<N>/` holds three pickles and the images of
each camera, which `demo_images.py` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.instructions import LanguageError, described
from sam2act.data.recorded_rules import (
    Source,
    check_fingers,
    check_motion,
    check_poses,
    flags,
    gripper_states,
)
from sam2act.data.rlbench.demo_folders import (
    DESCRIPTIONS_FILE,
    EPISODE_NAME,
    LOW_DIM_FILE,
    VARIATION_FILE,
    episode_folders,
    episode_number,
    rename_command,
    variation_above,
)
from sam2act.data.rlbench.keyframes import find_keyframes
from sam2act.data.rlbench.types import (
    Demo,
    DemoError,
    load_restricted,
    numbers_in,
    short,
)
from sam2act.data.source import CameraArrays
from sam2act.data.transitions import FrameLabels

_MARK = "_camera_intrinsics"  # by which misc shows that it knows a camera
PICKLE_FILES = (LOW_DIM_FILE, DESCRIPTIONS_FILE, VARIATION_FILE)


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
    def random_seed(self) -> tuple[Any, ...] | int | None:
        """What re-creates the scene: a Mersenne-Twister state or a plain integer."""
        return getattr(self.demo, "random_seed", None)


def list_episodes(root: str | Path, split: str, task: str) -> list[int]:
    """The episode numbers present on disk, increasing.

    Raises:
        DemoError: the folder of the task is absent, holds no episode, or two of the same number.
    """
    return list(episode_folders(root, split, task))


def read_episode(folder: str | Path) -> Episode:
    """The pickles of episode folder `folder`; no image is touched.

    Raises:
        DemoError: a pickle is absent, damaged or holds something else than a demo.
    """
    folder = Path(folder)
    number = episode_number(folder)
    if number is None:
        raise DemoError(
            f"{folder}: an episode folder is called {EPISODE_NAME}; rename it, e.g. "
            f"{rename_command(folder)}"
        )
    demo = load_restricted(folder / LOW_DIM_FILE)
    if not isinstance(demo, Demo) or not isinstance(getattr(demo, "_observations", None), list):
        raise DemoError(
            f"{folder / LOW_DIM_FILE}: holds {type(demo).__name__} instead of an RLBench demo; "
            "record the episode again"
        )
    descriptions = _read_descriptions(_or_above(folder, DESCRIPTIONS_FILE))
    return Episode(
        folder=folder,
        number=number,
        demo=demo,
        instruction=descriptions[0],
        descriptions=descriptions,
        variation_number=_variation_of(folder),
    )


def _read_descriptions(path: Path) -> tuple[str, ...]:
    try:
        return described(load_restricted(path))
    except LanguageError as error:
        raise DemoError(f"{path}: {error}") from error


def _or_above(folder: Path, name: str) -> Path:
    """File `name` of an episode, or the one beside the folder of episodes, where only that is."""
    shared = folder.parent.parent / name
    return folder / name if (folder / name).exists() or not shared.exists() else shared


def _variation_of(folder: Path) -> int:
    known = variation_above(folder)
    if known is not None and not (folder / VARIATION_FILE).exists():
        return known
    return _read_variation(folder / VARIATION_FILE)


def _read_variation(path: Path) -> int:
    content = load_restricted(path)
    if not isinstance(content, (int, np.integer)):
        raise DemoError(f"{path}: needs an integer, got {type(content).__name__}")
    return int(content)


def frame_labels(
    episode: Episode,
    gripper_threshold: float | None = None,
    assume_ignore_collisions: bool | None = None,
) -> FrameLabels:
    """Gripper and collision data of every frame.

    Args:
        episode: a demo.
        gripper_threshold: gripper states above it are open; None = they are 0 or 1.
        assume_ignore_collisions: the flag of frames that have none.

    Raises:
        DemoError: a frame lacks one of the fields, or breaks a rule about its values.
    """
    source = _low_dim_source(episode)
    poses = _field(episode, "gripper_pose", (7,))
    check_poses(source, poses)
    fingers = _field(episode, "gripper_joint_positions", (2,))
    check_fingers(source, fingers)
    return FrameLabels(
        gripper_open=_gripper_states(episode, gripper_threshold),
        finger_joints=fingers,
        gripper_pose=poses,
        ignore_collisions=_collision_flags(episode, assume_ignore_collisions),
    )


def joint_positions(episode: Episode) -> np.ndarray | None:
    """(T, 7) float64, radians; None where a frame has none or an arm of other joints."""
    try:
        return _field(episode, "joint_positions", (7,))
    except DemoError:
        return None


def _low_dim_source(episode: Episode) -> Source:
    return Source.frames(episode.folder / LOW_DIM_FILE, range(len(episode.demo)))


def _gripper_states(episode: Episode, threshold: float | None) -> np.ndarray:
    states = _field(episode, "gripper_open", ())
    return gripper_states(_low_dim_source(episode), states, threshold)


def _collision_flags(episode: Episode, assumed: bool | None) -> np.ndarray:
    """(T,) float64: 1 = the planner ignored collisions."""
    name = "ignore_collisions"
    recorded = [getattr(observation, name, None) for observation in episode.demo]
    absent = next((frame for frame, flag in enumerate(recorded) if flag is None), None)
    if assumed is None and absent is not None:
        raise DemoError(
            f"{episode.folder / LOW_DIM_FILE}: frame {absent} has no {name}, which the RLBench of "
            "PerAct records, but neither upstream RLBench nor The Colosseum; set "
            "assume_ignore_collisions to False (every motion avoids collisions) or True (none does)"
        )
    return flags(_low_dim_source(episode), name, _field(episode, name, (), assumed))


def episode_keyframes(episode: Episode, gripper_threshold: float | None = None) -> list[int]:
    """The keyframes of `episode`; for the threshold see `frame_labels`.

    Raises:
        DemoError: the demo has fewer than two frames and hence no keyframe, or a gripper state
            has no meaning.
    """
    keyframes: list[int] = []
    if len(episode.demo) > 1:
        velocities = _field(episode, "joint_velocities", None)
        if not velocities.any():
            check_motion(_low_dim_source(episode), _field(episode, "gripper_pose", (7,)))
        states = _gripper_states(episode, gripper_threshold)
        keyframes = find_keyframes(velocities, states.tolist())
    if not keyframes:
        raise DemoError(
            f"{episode.folder / LOW_DIM_FILE}: a demo of {len(episode.demo)} frames has no "
            "keyframes; record the episode again or leave it out"
        )
    return keyframes


def _field(
    episode: Episode, name: str, shape: tuple[int, ...] | None, default: float | None = None
) -> np.ndarray:
    """(T, *shape) float64: one attribute of all frames; shape None = (J,) with any J > 0.

    One number may stand alone or in an array of its own.

    Raises:
        DemoError: names the frame and what stands there.
    """
    rows: list[np.ndarray] = []
    for frame, observation in enumerate(episode.demo):
        value = getattr(observation, name, None)
        row = numbers_in(default if value is None else value)
        if row is not None and shape == () and row.size == 1:
            row = row.reshape(())
        if shape is None and row is not None and row.ndim == 1 and len(row):
            shape = row.shape
        if row is None or row.shape != shape or not np.isfinite(row).all():
            raise DemoError(
                f"{episode.folder / LOW_DIM_FILE}: {name} is missing or malformed in frame {frame}:"
                f" expected {_described(shape)}, got {short(value)}; record the episode again"
            )
        rows.append(row)
    return np.stack(rows)


def _described(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "finite numbers in a row"
    return f"{shape[0]} finite numbers" if shape else "a finite number"


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
        value = numbers_in(misc.get(key) if isinstance(misc, dict) else None)
        if value is not None and shape == () and value.size == 1:
            value = value.reshape(())
        if value is None or value.shape != shape:
            known = sorted(str(k).removesuffix(_MARK) for k in misc or () if str(k).endswith(_MARK))
            raise DemoError(
                f"{episode.folder / LOW_DIM_FILE}: misc of frame {frame} has no usable {key!r}; "
                f"cameras with matrices there: {', '.join(known) or 'none'}. Name only such ones "
                "in the key cameras, or record the episode with this one too"
            )
        values[kind] = value
    return values
