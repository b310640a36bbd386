"""Which frames of a demo are keyframes (paper section 3; the heuristic of the released code)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sam2act.data.rlbench.types import RecordedObservation

REST_SPEED = 0.1  # rad/s; every joint at or below it counts as standing still
IMAGE_EVERY = 10  # frames; chains of training records start at every tenth one
REST_PAUSE = 4  # frames after a stop during which no further stop is reported


def demo_keyframes(observations: Iterable[RecordedObservation]) -> list[int]:
    """`find_keyframes` of the observations of a demo."""
    frames = list(observations)
    velocities = np.stack([frame.joint_velocities for frame in frames])
    return find_keyframes(velocities, [frame.gripper_open for frame in frames])


def frames_with_images(observations: Sequence[RecordedObservation], images: str) -> list[int]:
    """Numbers of the frames whose images policy `images` (all, keyframes, none) keeps."""
    count = len(observations)
    if images == "none":
        return []
    if images == "all":
        return list(range(count))
    return sorted({0, *range(0, count, IMAGE_EVERY), *demo_keyframes(observations)})


def find_keyframes(joint_velocities: np.ndarray, gripper_open: Sequence[float]) -> list[int]:
    """Frame numbers at which the gripper changes, the arm stops or the demo ends.

    Args:
        joint_velocities: (T, J) rad/s.
        gripper_open: (T,) 0.0 or 1.0.

    Returns:
        increasing frame numbers; the last frame is always among them, frame 0 never. Empty for
        fewer than two frames.
    """
    num_frames = len(gripper_open)
    still = (np.abs(np.asarray(joint_velocities)) <= REST_SPEED).all(axis=-1)
    pause = 0
    keyframes: list[int] = []
    for frame in range(num_frames):
        stopped = pause <= 0 and bool(still[frame]) and _gripper_is_steady(frame, gripper_open)
        pause = REST_PAUSE if stopped else pause - 1
        changed = gripper_open[frame] != gripper_open[frame - 1]
        if frame != 0 and (changed or frame == num_frames - 1 or stopped):
            keyframes.append(frame)
    if len(keyframes) > 1 and keyframes[-1] - 1 == keyframes[-2]:
        del keyframes[-2]
    return keyframes


def _gripper_is_steady(frame: int, gripper_open: Sequence[float]) -> bool:
    """Whether the gripper keeps its state around `frame`, which is not one of the last two.

    Quirk: the look-back of frames 0 and 1 wraps around to the end of the demo.
    """
    if frame >= len(gripper_open) - 2:
        return False
    here = gripper_open[frame]
    before = gripper_open[frame - 1]
    return bool(
        here == gripper_open[frame + 1] and here == before and gripper_open[frame - 2] == before
    )
