"""What stands between a policy and an environment: which action is executed when.

An executor turns chunks of predicted actions into one action per step, and counts predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sam2act.core.types import (
    ActionChunk,
    ContractError,
    Instruction,
    Observation,
    Policy,
    environment_ids,
)


@dataclass
class EpisodeState:
    """What an executor knows of the running episode of one environment."""

    actions: int = 0  # given since the start of the episode
    forward_passes: int = 0  # predictions made for it


class Executor(Protocol):
    """One action per call and environment; environments are named by ids."""

    forward_passes: int  # predictions since construction, one per environment and call

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all), for the policy too."""
        ...

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The action (B, 1, A) to execute now in each of `env_ids` (None: 0, 1, ..., B - 1)."""
        ...

    def episode(self, env_id: int) -> EpisodeState:
        """Counts of the running episode of an environment."""
        ...


class SingleExecutor:
    """Predicts at every step and executes the first action of the chunk (keyframe policies)."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.forward_passes = 0
        self._episodes: dict[int, EpisodeState] = {}

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all), for the policy too."""
        self.policy.reset(env_ids)
        for env_id in list(self._episodes) if env_ids is None else env_ids:
            self._episodes.pop(env_id, None)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The action (B, 1, A) to execute now in each of `env_ids` (None: 0, 1, ..., B - 1).

        Raises:
            ContractError: invalid input.
        """
        ids = environment_ids(env_ids, len(observation))
        chunk = self.policy.act(observation, language, ids)
        for env_id in ids:
            episode = self._episodes.setdefault(env_id, EpisodeState())
            episode.actions += 1
            episode.forward_passes += 1
        self.forward_passes += len(ids)
        return ActionChunk(chunk.values[:, :1], chunk.valid[:, :1], chunk.space)

    def episode(self, env_id: int) -> EpisodeState:
        """Counts of the running episode of an environment."""
        return self._episodes.get(env_id, EpisodeState())


EXECUTORS: tuple[tuple[str, Callable[[Policy], Executor]], ...] = (("single", SingleExecutor),)


def build_executor(name: str, policy: Policy) -> Executor:
    """The executor called `name`.

    Raises:
        ContractError: there is none of that name.
    """
    builders = dict(EXECUTORS)
    if name not in builders:
        raise ContractError(f"executor: {name!r} is not one of {', '.join(builders)}")
    return builders[name](policy)
