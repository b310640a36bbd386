"""A source in the form of PushT's buffer: a bright square that goes where it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.frames import Frame
from sam2act.core.specs import EnvSpec, square_cameras
from sam2act.data.source import EpisodeFacts, SourceRequest

EPISODES, LENGTH, SIDE = 3, 30, 96
RAW = ActionSpec("raw", (Component("action", 2, ""),), rate=10.0)


class ToyPushT:
    def __init__(self, request: SourceRequest) -> None:
        self.request = request

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(square_cameras(("img",), SIDE, depth=False), (), (replace(RAW),))

    @property
    def rate(self) -> float:
        return 10.0

    def episodes(self) -> Sequence[int]:
        return range(EPISODES)

    def facts(self, number: int) -> EpisodeFacts:
        return EpisodeFacts(LENGTH)

    def instruction(self, number: int) -> str:
        return "push"

    def frame(self, number: int, index: int) -> Frame:
        picture = np.full((SIDE, SIDE, 3), 30, np.uint8)
        row, column = (self.actions(number)[index] / 512 * (SIDE - 8)).astype(int)
        picture[row : row + 8, column : column + 8] = 250
        return Frame(rgb={"img": picture}, state={})

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        return {}

    def actions(self, number: int) -> np.ndarray:
        along = np.linspace(0, 1, LENGTH)
        return np.stack([100 + 300 * along, 400 - 50.0 * number - 200 * along], axis=1)

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        return f"{number}"
