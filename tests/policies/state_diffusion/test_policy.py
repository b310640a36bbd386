"""The baseline on states: what it sees, learns and gives."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.core.types import Observation, SampleIdentity, WindowBatch
from sam2act.policies.base import BuildOptions
from sam2act.policies.state_diffusion.policy import StateDiffusionConfig, StateDiffusionPolicy

SMALL = StateDiffusionConfig(width=32, depth=1, test_steps=10)
NOTHING = torch.zeros(8, 1, 1)


def built(**changes: Any) -> StateDiffusionPolicy:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, **changes)
    return StateDiffusionPolicy.build(config, ExperimentConfig(cameras=("img",)), BuildOptions())


def windows(count: int = 8) -> WindowBatch:
    """The actions of a sample all go where its block is."""
    state = torch.rand(count, 2, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return WindowBatch(
        instruction=torch.zeros(count, dtype=torch.int64),
        identities=tuple(SampleIdentity("pusht", 0, row, row + 16) for row in range(count)),
        observed=Observation(
            rgb=torch.zeros(count, 2, 1, 8, 8, 3, dtype=torch.uint8), proprioception=state
        ),
        action=state[:, 1:, 2:4].expand(-1, 16, -1).clone(),
        valid=torch.ones(count, 16, dtype=torch.bool),
    )


def test_it_learns_to_go_by_the_state() -> None:
    policy, batch = built(), windows()
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
    many = batch.select([row % 8 for row in range(128)])
    losses = []
    for step in range(200):
        noise = policy.sample_noise(128, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss = policy.loss(many, NOTHING, noise).total
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    others = dataclasses.replace(many, action=many.action.roll(1, 0))
    assert policy.loss(others, NOTHING, noise).total > loss, "it goes by the state"
    chunk, state = policy.act(batch.observed, NOTHING, policy.initial_state(8))
    assert chunk.values.shape == (8, 16, 2) and state.count.tolist() == [1] * 8
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert chunk.values.abs().max() <= 1
    again, _ = policy.act(batch.observed, NOTHING, policy.initial_state(8))
    assert torch.equal(chunk.values, again.values)


def test_angles_go_round() -> None:
    policy, batch = built(), windows()
    noise = policy.sample_noise(8, torch.Generator().manual_seed(0))
    turned = batch.observed.proprioception.clone()
    turned[..., 4] += 2  # a whole turn
    for parameter in policy.net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    losses = [
        policy.loss(dataclasses.replace(batch, observed=seen), NOTHING, noise).total
        for seen in (
            batch.observed,
            dataclasses.replace(batch.observed, proprioception=turned),
            dataclasses.replace(batch.observed, proprioception=turned + 0.3),
        )
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(losses[0], losses[2])


def test_the_preset_and_impossible_keys() -> None:
    network = load_network("configs/mvt/tiny_state_pusht.yaml")
    assert isinstance(network, StateDiffusionConfig) and network.angles == (4,)
    spec = built().spec
    assert spec.offsets == (-1, 0) and spec.executor == "open_loop(8)"
    for changes, message in (
        ({"angles": (5,)}, "numbers of the state are 0 to 4"),
        ({"n_action_steps": 17}, "n_action_steps"),
    ):
        with pytest.raises(ConfigError, match=message):
            dataclasses.replace(SMALL, **changes)
