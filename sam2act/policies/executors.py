"""What stands between a policy and an environment: which action is executed when.

An executor turns chunks of predicted actions into one action per step, and counts predictions.
Legend: B environments of a call, H actions of a chunk, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sam2act.core.described import build_described, whole_number
from sam2act.core.errors import require, require_choice
from sam2act.core.registry import EXECUTORS
from sam2act.core.specs import PolicySpec
from sam2act.core.types import (
    ActionChunk,
    Instruction,
    Observation,
    Session,
    environment_ids,
)
from sam2act.policies.measured_base import MeasuredBase
from sam2act.processing.blending import smoothed

COMMANDED_BASE, MEASURED_BASE = BASES = ("commanded", "measured")


@dataclass
class EpisodeState:
    """What an executor knows of the running episode of one environment."""

    actions: int = 0  # given since the start of the episode
    forward_passes: int = 0  # predictions made for it


class Executor:
    """One action per call and environment; environments are named by ids.

    It counts actions and predictions; a subclass says in `_actions` what is executed.

    Attributes:
        policy: who predicts.
        forward_passes: predictions since construction, one per environment and call.
    """

    def __init__(self, policy: Session) -> None:
        self.policy = policy
        self.forward_passes = 0
        self._episodes: dict[int, EpisodeState] = {}

    @property
    def spec(self) -> PolicySpec:
        """That of the policy, whose chunks become single actions here."""
        return self.policy.spec

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        """The action (B, 1, A) to execute now in each of `env_ids` (None: 0, 1, ..., B - 1).

        Raises:
            ContractError: invalid input.
            ConfigError: the executor needs longer chunks than the policy predicts.
        """
        return self._actions(observation, language, environment_ids(env_ids, len(observation)))

    def _actions(
        self, observation: Observation, language: Instruction, ids: list[int]
    ) -> ActionChunk:
        raise NotImplementedError

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Start new episodes in `env_ids` (None: in all), for the policy too."""
        self.policy.reset(env_ids)
        for env_id in list(self._episodes) if env_ids is None else env_ids:
            self._episodes.pop(env_id, None)
            self._forget(env_id)

    def episode(self, env_id: int) -> EpisodeState:
        """Counts of the running episode of an environment."""
        return self._episodes.get(env_id, EpisodeState())

    def _forget(self, env_id: int) -> None:
        """Drop what else is known of the episode of `env_id`."""

    def _count(self, ids: Sequence[int], predicted: Sequence[int]) -> None:
        """An action for each of `ids`; a prediction for each of `predicted` among them."""
        for env_id in ids:
            self._episodes.setdefault(env_id, EpisodeState()).actions += 1
        for env_id in predicted:
            self._episodes[env_id].forward_passes += 1
        self.forward_passes += len(predicted)


class SingleExecutor(Executor):
    """Predicts at every step and executes the first action of the chunk (keyframe policies)."""

    def _actions(
        self, observation: Observation, language: Instruction, ids: list[int]
    ) -> ActionChunk:
        chunk = self.policy.act(observation, language, ids)
        self._count(ids, ids)
        return ActionChunk(chunk.values[:, :1], chunk.valid[:, :1], chunk.space)


class Prediction(NamedTuple):
    """The chunk of one environment."""

    values: Tensor  # (H, A)
    valid: Tensor  # (H,) bool
    space: str


class ChunkExecutor(Executor):
    """Keeps predictions per environment; those that need a new one share a call of the policy.

    A subclass says which environments need one, what it keeps, and what is executed.
    """

    def _actions(
        self, observation: Observation, language: Instruction, ids: list[int]
    ) -> ActionChunk:
        rows = [row for row, env_id in enumerate(ids) if self._needs_prediction(env_id)]
        if rows:
            self._predict(observation, language, ids, rows)
        self._count(ids, [ids[row] for row in rows])
        actions = [self._next_action(env_id) for env_id in ids]
        return ActionChunk(
            torch.stack([action.values for action in actions]),
            torch.stack([action.valid for action in actions]),
            actions[0].space,
        )

    def _predict(
        self, observation: Observation, language: Instruction, ids: list[int], rows: list[int]
    ) -> None:
        """Predict for the environments `rows` of the call."""
        if len(rows) < len(ids):
            chosen = torch.tensor(rows, device=observation.rgb.device)
            observation = observation.select(chosen)
            if isinstance(language, Tensor):
                language = language[chosen.to(language.device)]
            else:
                language = [language[row] for row in rows]
        chosen_ids = [ids[row] for row in rows]
        chunk = self.policy.act(observation, language, chosen_ids)
        for env_id, values, valid in zip(chosen_ids, chunk.values, chunk.valid, strict=True):
            self._keep(env_id, Prediction(values, valid, chunk.space))

    def _needs_prediction(self, env_id: int) -> bool:
        """Whether there is nothing to execute in `env_id` without a new prediction."""
        raise NotImplementedError

    def _keep(self, env_id: int, prediction: Prediction) -> None:
        """Take a new prediction for `env_id`."""
        raise NotImplementedError

    def _next_action(self, env_id: int) -> Prediction:
        """The action (1, A) of `env_id` for this step."""
        raise NotImplementedError


class OpenLoopExecutor(ChunkExecutor):
    """Executes the first k actions of a chunk before it predicts again.

    It predicts earlier where the next action of the chunk is not valid.
    """

    def __init__(
        self, policy: Session, k: int, smooth: int = 1, base: str = COMMANDED_BASE
    ) -> None:
        """Executes k actions per prediction.

        Args:
            policy: who predicts.
            k: actions, at most as many as the policy's chunks have.
            smooth: width of a centred moving average over the actions of a chunk, whose ends are
                repeated; 1 = none.
            base: what the deltas of a chunk add up from: `commanded`, the pose commanded last, or
                `measured`, where the gripper was seen when the chunk was predicted; the actions
                are then poses.

        Raises:
            ConfigError: impossible numbers.
        """
        require_choice("executor: open_loop: base", base, BASES)
        super().__init__(MeasuredBase(policy) if base == MEASURED_BASE else policy)
        self.k = whole_number("executor: open_loop", "k", k)
        self.smooth = whole_number("executor: open_loop", "smooth", smooth)
        require(self.smooth % 2 == 1, f"executor: open_loop: smooth={smooth} must be odd")
        self._queues: dict[int, list[Prediction]] = {}

    def _needs_prediction(self, env_id: int) -> bool:
        return not self._queues.get(env_id)

    def _keep(self, env_id: int, prediction: Prediction) -> None:
        length = len(prediction.values)
        require(
            self.k <= length,
            f"executor: open_loop: k={self.k}, but the policy predicts {length} action"
            f"{'s' if length > 1 else ''} at a time; use a k of at most {length}",
        )
        values, valid, space = prediction
        if self.smooth > 1:
            values = smoothed(values, self.smooth, space)
        known = valid[: self.k].tolist()
        count = known.index(False, 1) if False in known[1:] else self.k
        parts = zip(values[:count].split(1), valid[:count].split(1), strict=True)
        self._queues[env_id] = [Prediction(*part, space) for part in parts]

    def _next_action(self, env_id: int) -> Prediction:
        return self._queues[env_id].pop(0)

    def _forget(self, env_id: int) -> None:
        self._queues.pop(env_id, None)


def build_executor(description: str, policy: Session) -> Executor:
    """The executor of a description: a name, or one with parameters such as `open_loop(k=4)`.

    Parameters may be given by position, too: `adaptive_ensemble(7, 0.1)`.

    Raises:
        ConfigError: there is none of that name, or parameters are unknown, missing or impossible.
    """
    executor: Executor = build_described(EXECUTORS, description, policy, example="open_loop(k=4)")
    return executor
