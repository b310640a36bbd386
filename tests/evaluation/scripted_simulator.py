"""A stand-in for a simulator that does, in its own process, what the name of its task says.

The task of a scene lists behaviours separated by commas; episode i shows the i-th one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sam2act.core.specs import PolicySpec
from sam2act.data.rlbench.types import RecordedObservation
from sam2act.envs.base import EnvConfig
from sam2act.evaluation.actors import Turn
from sam2act.evaluation.scenes import EpisodeStart
from sam2act.evaluation.worker import (
    Began,
    Begin,
    Command,
    Crashed,
    Failed,
    Finish,
    Finished,
    Reply,
    Stepped,
)

MARKS = "SCRIPTED_SIMULATOR_MARKS"  # folder in which `die_once` remembers that it died
SOLVED_AFTER = 3


class ScriptedServant:
    """Obeys commands according to the script of the scene."""

    def __init__(self, config: EnvConfig) -> None:
        self.behaviour, self.steps, self.episode = "", 0, -1

    def handle(self, command: Command) -> Reply:
        """See the module."""
        if isinstance(command, Begin):
            scene = command.scene
            self.behaviour = scene.task.split(",")[scene.episode]
            self.steps, self.episode = 0, scene.episode
            if self.behaviour == "impossible":
                return Crashed("ValueError", "there is no such variation", user_error=True)
            if self.behaviour == "foreign":
                return Crashed("SceneError", "episode1: of another task", bad_scene=True)
            if self.behaviour == "unplaceable":
                return Failed("BoundaryError", "no free place")
            return Began(
                scene.episode % 2,
                7,
                [f"do {self.behaviour}", f"please {self.behaviour}"],
                RecordedObservation(),
            )
        if isinstance(command, Finish):
            if self.behaviour == "unfilmed":
                return Crashed("OSError", "the disk is full")
            return Finished()
        self.steps += 1
        return self._stepped()

    def _stepped(self) -> Reply:
        if self.behaviour == "error" and self.steps == 2:
            return Failed("InvalidActionError", "outside\nthe workspace")
        if self.behaviour == "crash":
            return Crashed("KeyError", "a bug")
        if self.behaviour == "hang":
            time.sleep(1000)
        if self.behaviour == "die" or (self.behaviour == "die_once" and self._first_time()):
            os._exit(3)
        solved = self.behaviour != "wander" and self.steps == SOLVED_AFTER
        return Stepped(RecordedObservation(), float(solved), solved)

    def _first_time(self) -> bool:
        mark = Path(os.environ[MARKS]) / f"died_in_{self.episode}"
        seen = mark.exists()
        mark.touch()
        return not seen

    def close(self) -> None:
        """Nothing to close."""


class CountingActor:
    """Gives every action the number of its step, and keeps what it was told."""

    spec = PolicySpec(camera_specs=(), language=None, state=())

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []  # (id, episode)
        self.asked: list[tuple[int, int]] = []  # (id, step)
        self.passes: dict[int, int] = {}  # id -> of the running episode

    def begin(self, env_id: int, scene: EpisodeStart) -> None:
        """Note it."""
        self.begun.append((env_id, scene.episode))
        self.passes[env_id] = 0

    def act(self, turns: Sequence[Turn]) -> list[np.ndarray | None]:
        """An action made of the step number; none for `do exhausted` after two steps."""
        self.asked += [(turn.env_id, turn.step) for turn in turns]
        for turn in turns:
            self.passes[turn.env_id] += 1
        return [
            None
            if turn.instruction == "do exhausted" and turn.step == 2
            else np.full(9, float(turn.step))
            for turn in turns
        ]

    def forward_passes(self, env_id: int) -> int:
        """As often as it was asked."""
        return self.passes[env_id]
