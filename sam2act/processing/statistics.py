"""Transforms that bring actions and states to one scale, by statistics of the training data.

Every number is scaled by itself; the four numbers of a quaternion stay as they are.
Legend: B samples, T frames, H actions, A numbers of an action, P numbers of a state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from sam2act.core.actions import OPENING, Component
from sam2act.core.errors import ConfigError, require_choice
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, Batch, KeyframeBatch, Observation, WindowBatch
from sam2act.processing.transforms import Transform

MODES = ("min_max", "limits", "mean_std", "quantile")
QUANTILES = (0.01, 0.99)
SMALLEST_SCALE = 1e-8  # numbers that spread less are only shifted
SMALLEST_RANGE = 1e-4  # the same of mode limits
QUATERNION_UNIT = "xyzw"


class Scaling:
    """value -> (value - shift) / scale for each number of a row."""

    def __init__(self, owner: str, parts: tuple[Component, ...], mode: str) -> None:
        """Without statistics yet.

        Args:
            owner: name of the transform, for messages.
            parts: what the numbers are.
            mode: min_max (the training data fill -1 to 1), limits (the same, but numbers whose
                range is below 1e-4 are only shifted, their minimum to 0), mean_std (mean 0,
                deviation 1) or quantile (the middle 98 % of the training data fill -1 to 1, the
                rest is clipped to that, and the opening of the gripper stays from 0 to 1).

        Raises:
            ConfigError: there is no such mode.
        """
        require_choice(f"transforms: {owner}: mode", mode, MODES)
        self.owner, self.mode = owner, mode
        same = (QUATERNION_UNIT, OPENING) if mode == "quantile" else (QUATERNION_UNIT,)
        kept = [part.unit in same for part in parts for _ in range(part.size)]
        self.kept = torch.tensor(kept, dtype=torch.bool)
        self.shift: Tensor | None = None  # (numbers,) float64
        self.scale: Tensor | None = None

    def fit(self, rows: Iterable[Tensor]) -> None:
        """Take the statistics of tables (N, numbers), read one after the other.

        Raises:
            ConfigError: there is no row.
        """
        shift, scale = self._middle(rows) if self.mode == "quantile" else self._spread(rows)
        scale = torch.where(scale < SMALLEST_SCALE, 1.0, scale)
        self.shift = torch.where(self.kept, 0.0, shift)
        self.scale = torch.where(self.kept, 1.0, scale)

    def _middle(self, rows: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Shift and scale by quantiles, for which all rows are kept at once."""
        tables = [table.double() for table in rows if len(table)]
        if not tables:
            raise self._nothing_to_fit()
        values = torch.cat(tables)
        self._check(values)
        low, high = torch.from_numpy(np.quantile(values.numpy(force=True), QUANTILES, axis=0))
        return (high + low) / 2, (high - low) / 2

    def _spread(self, rows: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Shift and scale by the range or the deviation, from one table after the other."""
        count, low, high, mean, squares = 0, *(torch.zeros(0, dtype=torch.float64),) * 4
        for table in rows:
            values = table.double()
            if not len(values):
                continue
            self._check(values)
            n, centre = len(values), values.mean(0)
            spread = (values - centre).square().sum(0)
            if not count:
                count, low, high, mean, squares = n, values.amin(0), values.amax(0), centre, spread
                continue
            low, high = low.minimum(values.amin(0)), high.maximum(values.amax(0))
            step = centre - mean  # two groups become one
            squares = squares + spread + step.square() * (count * n / (count + n))
            mean = mean + step * (n / (count + n))
            count += n
        if not count:
            raise self._nothing_to_fit()
        if self.mode == "limits":
            still, middle, half = high - low < SMALLEST_RANGE, (high + low) / 2, (high - low) / 2
            return torch.where(still, low, middle), torch.where(still, 1, half)
        if self.mode == "min_max":
            return (high + low) / 2, (high - low) / 2
        return mean, (squares / count).sqrt()

    def forward(self, values: Tensor) -> Tensor:
        """Scaled values (..., numbers)."""
        shift, scale = self._statistics(values)
        return self._bounded((values - shift) / scale)

    def backward(self, values: Tensor) -> Tensor:
        """The inverse of `forward`."""
        shift, scale = self._statistics(values)
        return self._bounded(values) * scale + shift

    def _bounded(self, scaled: Tensor) -> Tensor:
        """Within -1 to 1 where quantiles ask for it."""
        return scaled.clamp(-1, 1) if self.mode == "quantile" else scaled

    def state_dict(self) -> dict[str, Tensor]:
        """Shift and scale."""
        if self.shift is None or self.scale is None:
            raise self._unfitted()
        return {"shift": self.shift, "scale": self.scale}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take shift and scale.

        Raises:
            ConfigError: they are absent, or of other numbers.
        """
        sizes = {name: tuple(value.shape) for name, value in state.items()}
        if sizes != dict.fromkeys(("shift", "scale"), tuple(self.kept.shape)):
            raise ConfigError(
                f"transforms: {self.owner}: expected shift and scale of {len(self.kept)} numbers, "
                f"the stored statistics have {sizes or 'none'}"
            )
        self.shift, self.scale = state["shift"].double(), state["scale"].double()

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.shift is None or self.scale is None:
            raise self._unfitted()
        self._check(values)
        return self.shift.to(values), self.scale.to(values)

    def _check(self, values: Tensor) -> None:
        if values.shape[-1] != len(self.kept):
            raise ConfigError(
                f"transforms: {self.owner}: expected {len(self.kept)} numbers, got "
                f"{values.shape[-1]}"
            )

    def _nothing_to_fit(self) -> ConfigError:
        return ConfigError(f"transforms: {self.owner}: the training data hold nothing to fit")

    def _unfitted(self) -> ConfigError:
        return ConfigError(
            f"transforms: {self.owner} has no statistics; train with it, or use a checkpoint that "
            "holds them"
        )


class _Fitted(Transform):
    """What transforms with a `Scaling` share."""

    scaling: Scaling

    @property
    def needs_fit(self) -> bool:
        """Whether it lacks statistics."""
        return self.scaling.shift is None

    def state_dict(self) -> dict[str, Tensor]:
        """Shift and scale of every number."""
        return self.scaling.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take shift and scale of every number."""
        self.scaling.load_state_dict(state)


class NormaliseActions(_Fitted):
    """Scales the actions that a policy learns; what it predicts is scaled back."""

    def __init__(self, spec: PolicySpec, mode: str = "min_max") -> None:
        """See `Scaling`.

        Raises:
            ConfigError: there is no such mode.
        """
        self.scaling = Scaling("normalise_actions", spec.action.components, mode)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Take the statistics of all actions that were taken."""
        self.scaling.fit(window.action[window.valid] for window in map(_windows, batches))

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """With scaled actions."""
        window = _windows(batch)
        return dataclasses.replace(window, action=self.scaling.forward(window.action))

    def action(self, chunk: ActionChunk) -> ActionChunk:
        """The actions in their units."""
        return dataclasses.replace(chunk, values=self.scaling.backward(chunk.values.float()))


class NormaliseState(_Fitted):
    """Scales the robot state that a policy sees."""

    def __init__(self, spec: PolicySpec, mode: str = "min_max") -> None:
        """See `Scaling`.

        Raises:
            ConfigError: there is no such mode.
        """
        self.scaling = Scaling("normalise_state", spec.state, mode)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Take the statistics of all observed states."""
        self.scaling.fit(_state(batch).flatten(0, -2) for batch in batches)

    def observation(self, observation: Observation) -> Observation:
        """With the scaled state."""
        return dataclasses.replace(
            observation, proprioception=self.scaling.forward(observation.proprioception)
        )

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """With scaled states."""
        if isinstance(batch, WindowBatch):
            return dataclasses.replace(batch, observed=self.observation(batch.observed))
        assert isinstance(batch, KeyframeBatch), type(batch)
        return dataclasses.replace(batch, proprioception=self.scaling.forward(_state(batch)))


def _state(batch: Batch) -> Tensor:
    """(B, P) or (B, T, P) states of samples."""
    if isinstance(batch, WindowBatch):
        return batch.observed.proprioception
    assert isinstance(batch, KeyframeBatch), type(batch)
    return batch.proprioception


def _windows(batch: Batch) -> WindowBatch:
    if not isinstance(batch, WindowBatch):
        raise ConfigError(
            "transforms: normalise_actions is for policies that learn chunks of actions; this one "
            "learns keyframes, whose poses stay in metres"
        )
    return batch
