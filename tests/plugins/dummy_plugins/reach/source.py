"""Recorded episodes: computed when they are asked for, so that no file is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from reach import plane
from sam2act.core.specs import EnvSpec
from sam2act.core.types import Frame
from sam2act.data.source import EpisodeFacts, SourceRequest

EPISODES = 100
ORIGIN = {"train": 0, "val": 10_000}  # first seed of a split


class ReachSource:
    """An expert reaches the goal; episode n of a split is the same for everybody."""

    rate = plane.RAW.rate

    def __init__(self, request: SourceRequest) -> None:
        self.request = request
        self.spec: EnvSpec = plane.spec(request.task, request.image_size)

    def episodes(self) -> Sequence[int]:
        """Their numbers."""
        return range(EPISODES)

    def facts(self, number: int) -> EpisodeFacts:
        """Length and variation."""
        return EpisodeFacts(len(self._path(number)), variation=0)

    def instruction(self, number: int) -> str:
        """What the robot was told."""
        return plane.INSTRUCTION

    def states(self, number: int) -> Mapping[str, np.ndarray]:
        """(T, 2) positions of the hand."""
        return {"xy": self._path(number)}

    def actions(self, number: int) -> np.ndarray:
        """(T - 1, 2) steps of the expert."""
        return np.diff(self._path(number), axis=0)

    def frame(self, number: int, index: int) -> Frame:
        """The image and the state of one frame."""
        hand = self._path(number)[index]
        image = plane.picture(hand, self._scene(number)[1], self.request.image_size)
        return Frame(rgb={camera: image for camera in self.request.cameras}, state={"xy": hand})

    def fingerprint(self, number: int, frames: Sequence[int]) -> str:
        """Digest of the path, from which everything follows."""
        return hashlib.sha256(self._path(number).tobytes()).hexdigest()

    def _scene(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return plane.scene(ORIGIN[self.request.split] + number)

    def _path(self, number: int) -> np.ndarray:
        hand, goal = self._scene(number)
        path = [hand]
        while len(path) < 2 or np.abs(goal - path[-1]).max() > 1e-9:
            path.append(path[-1] + plane.expert(path[-1], goal))
        return np.array(path)
