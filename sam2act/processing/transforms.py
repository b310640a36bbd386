"""Transforms between data or robots on one side and a policy on the other.

One object, with its fitted statistics, serves the loader and the session; a checkpoint keeps it.
A configuration writes transforms as text, the one that sees raw data first: `resize(96)`,
`crop(84)`, `normalise_actions`. Legend: B samples or environments, H actions, A numbers of an
action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from sam2act.core.described import build_described
from sam2act.core.errors import require
from sam2act.core.registry import TRANSFORMS
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, Batch, Observation

EXAMPLE = "resize(96)"


class Transform:
    """Changes nothing; subclasses override what they change.

    They are built with the `PolicySpec` of what comes behind them and their own parameters.
    """

    @property
    def needs_fit(self) -> bool:
        """Whether it lacks statistics, which `fit` takes or `load_state_dict` brings."""
        return False

    def wanted(self, spec: PolicySpec) -> PolicySpec:
        """What must be observed so that what comes behind this transform gets `spec`.

        Raises:
            SpecError: this transform never gives what `spec` wants.
        """
        return spec

    def fit(self, batches: Iterable[Batch]) -> None:
        """Take statistics of the training data, which no transform has changed."""

    def observation(self, observation: Observation) -> Observation:
        """What the policy sees of B environments while it acts."""
        return observation

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """Training samples as the policy takes them: observations and labels.

        Args:
            batch: B samples.
            seeds: (B,) int64, uniform in [0, 2**62), for random choices; None = as while acting.
        """
        return batch

    def action(self, chunk: ActionChunk) -> ActionChunk:
        """What the robot is to do, from what the policy says: the inverse of `batch`."""
        return chunk

    def action_after(self, chunk: ActionChunk, observed: Observation) -> ActionChunk:
        """What the robot is to do after an observation; `action` where that does not depend on it.

        Args:
            chunk: what the policy says.
            observed: what was observed, before any transform.
        """
        return self.action(chunk)

    def state_dict(self) -> dict[str, Tensor]:
        """The statistics."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take statistics of `state_dict`.

        Raises:
            ConfigError: they belong to another transform.
        """
        require(not state, f"transforms: {type(self).__name__} has no statistics")


class Transforms(Transform):
    """Several transforms, one after the other."""

    def __init__(self, texts: Sequence[str], spec: PolicySpec) -> None:
        """The transforms of a configuration.

        Args:
            texts: descriptions, the first one sees raw data.
            spec: of the policy behind the last one.

        Raises:
            ConfigError: a text is malformed, or names an unknown transform or parameter.
            SpecError: the transforms do not give what the policy, or the next one, wants.
        """
        self.texts = tuple(texts)
        self.spec = spec  # what must be observed
        steps: list[Transform] = []
        for text in reversed(self.texts):
            step: Transform = build_described(TRANSFORMS, text, self.spec, example=EXAMPLE)
            self.spec = step.wanted(self.spec)
            steps.insert(0, step)
        self.steps = tuple(steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def needs_fit(self) -> bool:
        """Whether any of them lacks statistics."""
        return any(step.needs_fit for step in self.steps)

    def fit_all(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Give every transform that lacks statistics its own pass over the training data."""
        for step in self.steps:
            if step.needs_fit:
                step.fit(batches())

    def observation(self, observation: Observation) -> Observation:
        """What the policy sees, from what is observed."""
        for step in self.steps:
            observation = step.observation(observation)
        return observation

    def batch(self, batch: Batch, seeds: Tensor | None = None) -> Batch:
        """Samples as the policy takes them, from those of the data."""
        for step in self.steps:
            batch = step.batch(batch, seeds)
        return batch

    def action(self, chunk: ActionChunk) -> ActionChunk:
        """What the robot is to do; the last transform is undone first."""
        for step in reversed(self.steps):
            chunk = step.action(chunk)
        return chunk

    def action_after(self, chunk: ActionChunk, observed: Observation) -> ActionChunk:
        """The same after an observation, which no transform has changed."""
        for step in reversed(self.steps):
            chunk = step.action_after(chunk, observed)
        return chunk

    def state_dict(self) -> dict[str, Any]:
        """Descriptions and statistics, as plain containers of tensors."""
        return {
            "texts": list(self.texts),
            "statistics": [step.state_dict() for step in self.steps],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the statistics of a checkpoint.

        Raises:
            ConfigError: they belong to other transforms.
        """
        theirs = tuple(state.get("texts", ()))
        require(
            theirs == self.texts,
            f"transforms: [{', '.join(self.texts)}] differ from [{', '.join(theirs)}], whose "
            "statistics are stored",
        )
        for step, values in zip(self.steps, state["statistics"], strict=True):
            step.load_state_dict(values)
