"""A session acts with any policy: colours only, chunks, histories, states of their own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import ActionSpec, Component
from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, ContractError, Observation
from sam2act.policies.base import NoState, Policy
from sam2act.policies.checkpoint import PolicyBundle
from sam2act.policies.executors import build_executor
from sam2act.policies.observations import random_observation
from sam2act.policies.session import PolicySession

HORIZON = 4
ACTION = ActionSpec("raw", (Component("push", 2, "m"),), horizon=HORIZON, rate=10.0)
SPEC = PolicySpec(
    camera_specs=square_cameras(["top"], 6, depth=False),
    language=None,
    state=(Component("place", 3, "m"),),
    action=ACTION,
)


@dataclass(frozen=True)
class Calls:
    """How often an environment was acted in, since its episode began."""

    count: Tensor  # (B,)

    def select(self, rows: Tensor) -> Calls:
        return Calls(self.count[rows])

    def put(self, rows: Tensor, other: Calls) -> Calls:
        return Calls(self.count.index_put((rows,), other.count))

    def reset(self, rows: Tensor) -> Calls:
        return self.put(rows, Calls(torch.zeros_like(self.count[rows])))


class Counting(Policy):
    """Gives the number of its calls, and the mean colour of the newest frame."""

    def __init__(self, spec: PolicySpec = SPEC, *, remembers: bool = True) -> None:
        super().__init__()
        self.scale, self._spec, self.remembers = nn.Parameter(torch.ones(())), spec, remembers

    @property
    def spec(self) -> PolicySpec:
        return self._spec

    def initial_state(self, n: int) -> Any:
        return Calls(torch.zeros(n)) if self.remembers else NoState()

    def act(
        self, observation: Observation, language: Tensor, state: Any
    ) -> tuple[ActionChunk, Any]:
        assert language.shape == (len(observation), 1, 1) and not language.any()
        newest = observation.rgb if observation.rgb.dim() == 5 else observation.rgb[:, -1]
        colour = newest.float().flatten(1).mean(1) * self.scale
        if self.remembers:
            state = Calls(state.count + 1)
        count = state.count if self.remembers else torch.zeros_like(colour)
        step = torch.stack([count, colour], dim=1)
        values = step[:, None] + torch.arange(HORIZON)[:, None] / 10
        return ActionChunk(values, torch.ones(values.shape[:2], dtype=torch.bool), "raw"), state


def session(policy: Policy, **options: Any) -> PolicySession:
    return PolicySession(PolicyBundle(policy, ExperimentConfig(), None), **options)


def shown(count: int, spec: PolicySpec = SPEC) -> Observation:
    return random_observation(spec, count, torch.Generator().manual_seed(1))


def counts(chunk: ActionChunk) -> list[float]:
    return chunk.values[:, 0, 0].tolist()


@pytest.mark.parametrize("batch_size", [None, 2, 3])
def test_each_environment_has_its_own_state(batch_size: int | None) -> None:
    acting = session(Counting(), batch_size=batch_size)
    assert counts(acting.act(shown(3), ["", "", ""])) == [1, 1, 1]
    assert counts(acting.act(shown(2), ["", ""], [2, 7])) == [2, 1]
    acting.reset([2])
    assert counts(acting.act(shown(4), [""] * 4, [7, 2, 1, 0])) == [2, 1, 2, 2]
    assert acting.state_bytes == 4 * 4
    acting.reset()
    assert counts(acting.act(shown(1), [""], [7])) == [1]


def test_chunks_come_in_the_order_of_the_call() -> None:
    observation = shown(3)
    chunk = session(Counting(remembers=False), batch_size=2).act(observation, [""] * 3, [4, 1, 3])
    assert chunk.values.shape == (3, HORIZON, 2) and chunk.space == "raw"
    torch.testing.assert_close(chunk.values[:, 0, 1], observation.rgb.float().flatten(1).mean(1))


def test_a_chunk_is_executed_before_the_next_call() -> None:
    executor = build_executor("open_loop(k=3)", session(Counting()))
    given = [executor.act(shown(1), [""]).values[0, 0, 0].item() for _ in range(4)]
    assert given == pytest.approx([1.0, 1.1, 1.2, 2.0])


def test_histories_and_absent_depth_are_checked() -> None:
    history = dataclasses.replace(SPEC, offsets=(-2, 0))
    acting = session(Counting(history))
    frames = shown(2, history)
    assert frames.rgb.shape == (2, 2, 1, 6, 6, 3) and frames.depth is None
    acting.warm_up(2)
    assert counts(acting.act(frames, ["", ""])) == [1, 1]
    with pytest.raises(ContractError, match="^rgb"):
        acting.act(shown(2), ["", ""])


def test_a_policy_of_one_stage_and_without_published_files_says_so() -> None:
    Counting.check_stage(1, ExperimentConfig(), None)
    with pytest.raises(ConfigError, match="no second stage of training; use train.py"):
        Counting.check_stage(2, ExperimentConfig(), None)
    with pytest.raises(ConfigError, match="put exp_cfg.yaml and mvt_cfg.yaml"):
        Counting.assumed_configs(1, {})
