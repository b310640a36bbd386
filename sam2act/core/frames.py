"""What one robot and its cameras report at one moment, in numpy.

Simulators and their processes import this module and start without torch, which takes seconds.
Metres; poses and matrices in the world frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from sam2act.core.actions import Component
from sam2act.core.errors import UserError
from sam2act.core.specs import ROBOT_STATE, TIME, TIME_FEATURE_LENGTH

FINGER_RANGE = (0.0, 0.04)  # metres


class ContractError(UserError):
    """Data breaks its contract; the message names the field, what was expected and what came."""


@dataclass(frozen=True)
class Frame:
    """What one robot and its cameras report at one moment, as numpy arrays.

    Attributes:
        rgb: camera -> (H, W, 3) uint8.
        depth: camera -> (H, W) metres; 0 = nothing measured.
        intrinsics: camera -> (3, 3) float64.
        extrinsics: camera -> (4, 4) float64, T_world_from_camera.
        mask: camera -> (H, W) integers, one per object.
        state: part of the robot state -> its numbers.
    """

    rgb: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
    depth: Mapping[str, np.ndarray] = field(default_factory=dict)
    intrinsics: Mapping[str, np.ndarray] = field(default_factory=dict)
    extrinsics: Mapping[str, np.ndarray] = field(default_factory=dict)
    mask: Mapping[str, np.ndarray] = field(default_factory=dict)

    def frame(self) -> Frame:
        """This frame itself; other kinds of observation build one here."""
        return self


class HasFrame(Protocol):
    """What an environment returns as an observation: a `Frame`, or a type that can build one."""

    def frame(self) -> Frame:
        """The images and the state."""
        ...


SomeSteps = TypeVar("SomeSteps", float, np.ndarray)


def time_feature(time_index: SomeSteps, length: int = TIME_FEATURE_LENGTH) -> SomeSteps:
    """1 at the start of an episode, falling linearly to -1 at step `length - 1`."""
    return (1.0 - time_index / float(length - 1)) * 2.0 - 1.0


def proprioception(
    gripper_open: float,
    finger_joints: np.ndarray | Sequence[float],
    time_index: int,
    length: int = TIME_FEATURE_LENGTH,
) -> np.ndarray:
    """What the robot reports of itself, the same in training and evaluation.

    Args:
        gripper_open: 1 = open, 0 = closed.
        finger_joints: positions of the two fingers in metres, clipped to 0..0.04.
        time_index: keyframes executed since the start of the episode.
        length: trained episode length, whatever the evaluation allows.

    Returns:
        (4,) float32: gripper open, two finger joints, time feature.
    """
    numbers = {
        "gripper_open": np.array([[gripper_open]]),
        "finger_joints": np.asarray(finger_joints)[None],
    }
    row: np.ndarray = state_rows(ROBOT_STATE, numbers, np.array([time_index]), length)[0]
    return row


def state_rows(
    parts: Sequence[Component], numbers: Mapping[str, np.ndarray], steps: np.ndarray, length: int
) -> np.ndarray:
    """The state that a policy gets at T moments, the same in training and acting.

    Args:
        parts: what the policy wants, in this order.
        numbers: what the robot reports, by names of parts: (T, size), clipped to their ranges. The
            part `TIME` is made from the steps.
        steps: (T,) actions executed since the start of the episode.
        length: steps that the time feature spans, whatever an evaluation allows.

    Returns:
        (T, P) float32.

    Raises:
        ContractError: a part is not reported, or has another size.
    """
    columns = [np.zeros((len(steps), 0))]
    for part in parts:
        if part == TIME:
            columns.append(time_feature(np.asarray(steps), length)[:, None])
            continue
        if part.name not in numbers:
            there = ", ".join(numbers) or "nothing"
            raise ContractError(f"state: expected {part.name}, got {there}")
        values = np.asarray(numbers[part.name], np.float64)
        if values.size != len(steps) * part.size:
            raise ContractError(
                f"state: expected {part.size} numbers of {part.name}, got shape {values.shape[1:]}"
            )
        values = values.reshape(len(steps), part.size)
        ranged = part.low is not None or part.high is not None
        columns.append(np.clip(values, part.low, part.high) if ranged else values)
    return np.concatenate(columns, axis=1).astype(np.float32)
