"""A source of three short episodes in colour, none of whose files exist."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sam2act.core.actions import EE_DELTA, EE_POSE, ActionSpec, Component
from sam2act.core.specs import EnvSpec, square_cameras
from sam2act.core.types import Frame
from sam2act.data.source import AbsentError, EpisodeFacts, SourceRequest

EPISODES, LENGTH, SIDE = 3, 12, 16
HEIGHT = Component("height", 1, "m")
RAW = ActionSpec("raw", (Component("command", 2, "V"),), rate=10.0)


class ToySource:
    """Frame t of episode i is of colour 20 * i + t everywhere; its action is (i, t)."""

    def __init__(self, request: SourceRequest) -> None:
        self.request = request

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            camera_specs=square_cameras(("front", "wrist"), SIDE, depth=False),
            state=(HEIGHT,),
            actions=(RAW, *(replace(action, rate=10.0) for action in (EE_POSE, EE_DELTA))),
        )

    @property
    def rate(self) -> float:
        return 10.0

    def episodes(self) -> Sequence[int]:
        if self.request.task == "absent":
            raise AbsentError(f"{self.request.folder}: no such toy")
        return range(EPISODES)

    def facts(self, number: int) -> EpisodeFacts:
        return EpisodeFacts(LENGTH, variation=number)

    def instruction(self, number: int) -> str:
        return f"toy {number % 2}"

    def frame(self, number: int, index: int) -> Frame:
        image = np.full((SIDE, SIDE, 3), 20 * number + index, np.uint8)
        state = {name: values[index] for name, values in self.states(number).items()}
        return Frame(rgb={"front": image, "wrist": image + 100}, state=state)

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        heights = number + np.arange(LENGTH) / 100
        poses = np.tile([0.0, 0, 0, 0, 0, 0, 1], (LENGTH, 1))
        poses[:, 2] = heights
        return {
            "height": heights[:, None],
            "gripper_pose": poses,
            "gripper_open": (np.arange(LENGTH) < 6).astype(float)[:, None],
        }

    def actions(self, number: int) -> np.ndarray:
        return np.stack([np.full(LENGTH, number), np.arange(LENGTH)], axis=1).astype(float)

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        return hashlib.sha256(f"{number} {list(frames)}".encode()).hexdigest()
