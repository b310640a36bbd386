"""Executors that predict at every step and blend what several chunks say of it.

Legend: n predictions for the same step, newest first; A numbers of an action.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sam2act.core.described import whole_number
from sam2act.core.errors import require
from sam2act.core.types import Session
from sam2act.policies.executors import ChunkExecutor, Prediction
from sam2act.processing.blending import as_float, blend, similarity_weights


class EnsembleExecutor(ChunkExecutor):
    """Keeps the last chunks of every environment and blends what they say of the present step.

    The chunk predicted j steps ago tells its action j. Actions that are not valid do not count;
    where the newest one is not, it is executed as it is.
    """

    def __init__(self, policy: Session, kept: int) -> None:
        """Keeps `kept` chunks per environment."""
        super().__init__(policy)
        self._kept = kept
        self._chunks: dict[int, list[Prediction]] = {}  # newest first

    def _needs_prediction(self, env_id: int) -> bool:
        return True

    def _keep(self, env_id: int, prediction: Prediction) -> None:
        known = self._chunks.get(env_id, [])
        self._chunks[env_id] = [prediction, *known][: self._kept]

    def _next_action(self, env_id: int) -> Prediction:
        chunks = self._chunks[env_id]
        now = [(age, chunk) for age, chunk in enumerate(chunks) if age < len(chunk.values)]
        newest = chunks[0]
        action = newest.values[:1], newest.valid[:1], newest.space
        if len(now) == 1:
            return Prediction(*action)
        values = as_float(torch.stack([chunk.values[age] for age, chunk in now]))
        valid = torch.stack([chunk.valid[age] for age, chunk in now])
        counts = torch.where(valid[0], valid, torch.arange(len(now), device=valid.device) == 0)
        weights = self._weights(values) * counts
        mean = blend(values, weights / weights.sum(), newest.space)
        return Prediction(mean[None], newest.valid[:1], newest.space)

    def _forget(self, env_id: int) -> None:
        self._chunks.pop(env_id, None)

    def _weights(self, actions: Tensor) -> Tensor:
        """(n,) positive weights of `actions` (n, A), newest first."""
        raise NotImplementedError


class AdaptiveEnsembleExecutor(EnsembleExecutor):
    """Favours predictions that agree with the newest one (CogACT's adaptive ensemble)."""

    def __init__(self, policy: Session, horizon: int, alpha: float = 0.1) -> None:
        """Blends the last `horizon` predictions, weighed by `similarity_weights` with `alpha`.

        Raises:
            ConfigError: impossible numbers.
        """
        super().__init__(policy, whole_number("executor: adaptive_ensemble", "horizon", horizon))
        number = isinstance(alpha, (int, float)) and abs(alpha) < float("inf")
        require(number, f"executor: adaptive_ensemble: alpha={alpha!r} must be a finite number")
        self.alpha = float(alpha)

    def _weights(self, actions: Tensor) -> Tensor:
        return similarity_weights(actions, self.alpha)


class MovingAverageExecutor(EnsembleExecutor):
    """The plain mean of the last n predictions for the present step."""

    def __init__(self, policy: Session, n: int) -> None:
        """Averages up to n predictions.

        Raises:
            ConfigError: n is no whole number from 1 on.
        """
        super().__init__(policy, whole_number("executor: moving_average", "n", n))

    def _weights(self, actions: Tensor) -> Tensor:
        return actions.new_ones(len(actions))
