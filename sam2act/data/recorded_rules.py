"""The rules of `core/rules.py` for recorded files: messages name file, frame, value and remedy.

Legend: T frames of a demo, F frames that are used, K camera, N pose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sam2act.core.rules import (
    Rule,
    camera_rules,
    check,
    depth_range_rules,
    finger_rule,
    pose_rules,
    zero_or_one,
)
from sam2act.data.rlbench.types import DemoError

FINGER_SLACK = 0.04  # metres by which recorded fingers may leave their range, which clips them
_AT_REST = 0.01  # metres that a gripper at rest may move


@dataclass(frozen=True)
class Source:
    """Where recorded numbers come from."""

    path: Path
    places: Sequence[str]  # what the entries of the first axis are, "frame 7" for example
    error: type[DemoError] = DemoError
    again: str = "record the episode again or leave it out"

    @classmethod
    def frames(cls, path: Path, frames: Sequence[int]) -> Source:
        """The frames of a demo."""
        return cls(path, [f"frame {frame}" for frame in frames])

    def check(
        self, rules: Sequence[Rule], *, cameras: Sequence[str] = (), remedy: str = ""
    ) -> None:
        """Raise `error` for the first broken rule."""
        check(
            rules,
            self.error,
            cameras=cameras,
            place=self.places.__getitem__,
            start=f"{self.path}: ",
            remedy=f"; {remedy}{self.again}",
        )


def check_cameras(
    source: Source,
    cameras: Sequence[str],
    image_size: int,
    depth_range: np.ndarray,
    intrinsics: np.ndarray,
    extrinsics: np.ndarray,
) -> None:
    """Check the calibration of F frames: (F, K, 2) metres, (F, K, 3, 3) and (F, K, 4, 4).

    Raises:
        DemoError: it is not that of pinhole cameras of this image size.
    """
    planes, matrices, poses = map(torch.from_numpy, (depth_range, intrinsics, extrinsics))
    rules = [*depth_range_rules(planes), *camera_rules(matrices, poses, image_size)]
    remedy = "correct it, take the camera out of the key cameras, "
    source.check(rules, cameras=cameras, remedy=remedy)


def check_poses(source: Source, poses: np.ndarray) -> None:
    """Check the gripper poses (N, 7) of a demo.

    Raises:
        DemoError: a position is not finite, or something else stands where quaternions belong.
    """
    source.check(pose_rules("gripper_pose", torch.from_numpy(poses)))


def check_fingers(source: Source, fingers: np.ndarray) -> None:
    """Check the finger joints (T, 2) of a demo.

    Raises:
        DemoError: they are no metres of a finger.
    """
    rule = finger_rule("gripper_joint_positions", torch.from_numpy(fingers), FINGER_SLACK)
    source.check([rule], remedy="convert them to metres of each finger, ")


def check_motion(source: Source, poses: np.ndarray) -> None:
    """Check gripper poses (T, 7) where all joint velocities are 0.

    Raises:
        DemoError: the gripper moves all the same, so the velocities were not recorded.
    """
    if np.ptp(poses[:, :3], axis=0).max() > _AT_REST:
        raise DemoError(
            f"{source.path}: joint_velocities are 0 in all {len(poses)} frames although the gripper"
            " moves, so nothing tells where it stops; record them (rad/s), or write the "
            "differences of joint_positions over the time step there"
        )


def flags(source: Source, field: str, values: np.ndarray) -> np.ndarray:
    """The values (T,) of a field that is 0 or 1, exactly.

    Raises:
        DemoError: another value.
    """
    source.check([zero_or_one(field, torch.from_numpy(values))])
    return np.round(values)


def gripper_states(source: Source, values: np.ndarray, threshold: float | None) -> np.ndarray:
    """(T,) 1.0 = open, 0.0 = closed.

    Args:
        source: of the values.
        values: (T,) as recorded.
        threshold: the key `gripper_threshold`; None = they are 0 or 1.

    Raises:
        DemoError: there is no threshold and another value than 0 and 1.
    """
    if threshold is not None:
        return (values > threshold).astype(np.float64)
    remedy = f"set gripper_threshold to {_middle(values)} (states above it count as open), "
    source.check([zero_or_one("gripper_open", torch.from_numpy(values))], remedy=remedy)
    return np.round(values)


def _middle(values: np.ndarray) -> str:
    """A short number in the middle of the values, to tell open from closed."""
    low, high = float(values.min()), float(values.max())
    if not low < high:
        return "what lies between closed and open"
    step = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    return f"{round((low + high) / 2 / step) * step + 0.0:.6g}"
