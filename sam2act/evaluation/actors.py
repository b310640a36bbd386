"""Who chooses the actions of evaluation episodes: a policy, or the demos themselves.

Several episodes run at once; each is named by an id and is at its own step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from sam2act.core.specs import PolicySpec
from sam2act.core.types import HasFrame
from sam2act.data.rlbench.demos import Episode, episode_keyframes, frame_labels
from sam2act.envs.policy_inputs import FrameHistory
from sam2act.evaluation.scenes import EpisodeStart, SceneError, read_stored
from sam2act.policies.base import GroundTruth
from sam2act.policies.executors import Executor


class Turn(NamedTuple):
    """An episode that waits for its next action."""

    env_id: int
    observation: HasFrame
    instruction: str
    step: int  # actions executed so far


class Actor(Protocol):
    """Chooses actions for running episodes."""

    @property
    def spec(self) -> PolicySpec:
        """What it needs to see, and what its actions are."""
        ...

    def begin(self, env_id: int, scene: EpisodeStart) -> None:
        """Episode `env_id` starts in `scene`; nothing of an earlier one may remain."""
        ...

    def act(self, turns: Sequence[Turn]) -> list[np.ndarray | None]:
        """An action (A,) for each of the episodes, None where there is nothing left to do."""
        ...

    def forward_passes(self, env_id: int) -> int:
        """Predictions made for this episode so far."""
        ...


class PolicyActor:
    """Acts with a policy; all waiting episodes share a forward pass."""

    def __init__(self, executor: Executor, spec: PolicySpec) -> None:
        self.spec = spec
        self._executor, self._history = executor, FrameHistory(spec)

    @property
    def time_passes(self) -> Callable[[int], list[float]] | None:
        """Times forward passes of the policy, see `PolicySession`; None if it cannot be timed."""
        return getattr(self._executor.policy, "time_passes", None)

    def begin(self, env_id: int, scene: EpisodeStart) -> None:
        """Empty the memory of this episode."""
        self._history.begin(env_id)
        self._executor.reset([env_id])

    def act(self, turns: Sequence[Turn]) -> list[np.ndarray | None]:
        """The policy's action for each of the episodes."""
        env_ids, observations, instructions, steps = zip(*turns, strict=True)
        inputs = self._history.observe(env_ids, observations, steps)
        with torch.inference_mode():
            chunk = self._executor.act(inputs, list(instructions), env_ids)
        return list(chunk.values[:, 0].double().cpu().numpy())

    def forward_passes(self, env_id: int) -> int:
        """As the executor counts them."""
        return self._executor.episode(env_id).forward_passes


KeyframeReader = Callable[[Episode], tuple[np.ndarray, np.ndarray, np.ndarray]]


class DemoActor:
    """Replays the keyframes of each scene's demo as a perfect network would predict them.

    Positions and rotations go through the policy's own decoding, so success bounds what its grids
    and bins allow. The collision flag is that of the frame before the keyframe.
    """

    spec = PolicySpec(camera_specs=(), language=None, state=())

    def __init__(self, decoder: GroundTruth, read: KeyframeReader | None = None) -> None:
        """Replays what `read` finds in a demo, `keyframe_actions` by default."""
        self._decoder = decoder
        self._read = read or keyframe_actions
        self._actions: dict[int, np.ndarray] = {}

    def begin(self, env_id: int, scene: EpisodeStart) -> None:
        """Read the keyframes of the scene's demo."""
        if scene.demo is None:
            raise SceneError("ground truth needs recorded demos: leave --seed out")
        poses, gripper, ignore = self._read(read_stored(scene.demo))
        self._actions[env_id] = self._decoder.actions(poses, gripper, ignore)

    def act(self, turns: Sequence[Turn]) -> list[np.ndarray | None]:
        """The next keyframe of each episode's demo."""
        chosen: list[np.ndarray | None] = []
        for turn in turns:
            actions = self._actions[turn.env_id]
            chosen.append(actions[turn.step] if turn.step < len(actions) else None)
        return chosen

    def forward_passes(self, env_id: int) -> int:
        """None: no network acts."""
        return 0


def keyframe_actions(
    episode: Episode,
    gripper_threshold: float | None = None,
    assume_ignore_collisions: bool | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses (K, 7), gripper states (K,) and collision flags (K,) of a demo's keyframes.

    For the options see the keys of their names.
    """
    labels = frame_labels(episode, gripper_threshold, assume_ignore_collisions)
    keyframes = np.array(episode_keyframes(episode, gripper_threshold))
    return (
        labels.gripper_pose[keyframes],
        labels.gripper_open[keyframes],
        labels.ignore_collisions[keyframes - 1],
    )
