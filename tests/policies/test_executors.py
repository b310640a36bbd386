"""The executor `single`: one prediction per step, counted per episode."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from sam2act.core.types import (
    ActionChunk,
    ContractError,
    Instruction,
    Observation,
    PolicySpec,
)
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.executors import EpisodeState, SingleExecutor, build_executor
from sam2act.policies.observations import random_observation

SPEC = PolicySpec(
    cameras=("front",),
    image_size=4,
    bounds=SceneBounds.from_sequence((-1, -1, -1, 1, 1, 1)),
    language_shape=(1, 1),
    chunk_length=3,
)


class Counter:
    """Predicts three actions: the id of the environment and 0, 1, 2."""

    spec = SPEC

    def __init__(self) -> None:
        self.resets: list[Sequence[int] | None] = []

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        self.resets.append(env_ids)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        assert env_ids is not None and len(env_ids) == len(observation)
        values = torch.tensor([[[e, step] for step in range(3)] for e in env_ids])
        return ActionChunk(values, torch.tensor([[True, False, False]] * len(env_ids)), "raw")


def act(executor: SingleExecutor, *ids: int) -> ActionChunk:
    observation = random_observation(SPEC, len(ids), torch.Generator().manual_seed(0))
    return executor.act(observation, ["go"] * len(ids), ids)


def test_first_action_of_every_chunk_is_executed() -> None:
    chunk = act(SingleExecutor(Counter()), 5, 2)
    assert chunk.values.tolist() == [[[5, 0]], [[2, 0]]]
    assert chunk.valid.tolist() == [[True], [True]] and chunk.space == "raw"


def test_counts_belong_to_episodes() -> None:
    policy = Counter()
    executor = SingleExecutor(policy)
    act(executor, 0, 1)
    act(executor, 1)
    assert executor.episode(0) == EpisodeState(1, 1)
    assert executor.episode(1) == EpisodeState(2, 2)
    executor.reset([1])
    assert executor.episode(0) == EpisodeState(1, 1) and executor.episode(1) == EpisodeState()
    executor.reset()
    assert executor.episode(0) == EpisodeState()
    assert executor.forward_passes == 3  # since construction
    assert policy.resets == [[1], None]


def test_ids_default_to_the_rows() -> None:
    executor = SingleExecutor(Counter())
    observation = random_observation(SPEC, 3, torch.Generator().manual_seed(0))
    assert executor.act(observation, ["go"] * 3).values[:, 0, 0].tolist() == [0, 1, 2]
    assert executor.episode(2) == EpisodeState(1, 1)


def test_executors_are_built_by_name() -> None:
    assert isinstance(build_executor("single", Counter()), SingleExecutor)
    with pytest.raises(ContractError, match="^executor: 'double' is not one of single"):
        build_executor("double", Counter())
