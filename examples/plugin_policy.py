"""A policy of one's own: colours in, chunks of four actions out (see docs/extending.md)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sam2act.core.actions import EE_DELTA
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, LossOutput, Observation, WindowBatch
from sam2act.policies.base import NoState, Policy, Seeds
from sam2act.policies.observations import random_observation

ACTION = replace(EE_DELTA, horizon=4)


class PluginPolicy(Policy):
    spec = PolicySpec(square_cameras(["front"], 32, depth=False), language=None, action=ACTION)
    term_names = ("error",)

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 28))

    def loss(self, batch: WindowBatch, language: Tensor, noise: Seeds) -> LossOutput:
        error = (self.act(batch.observed, language, NoState())[0].values - batch.action).square()
        return LossOutput(error[batch.valid].mean(), {"error": error[batch.valid].mean().detach()})

    def act(self, observation: Observation, language: Tensor, state: NoState) -> Any:
        values = self.network(observation.rgb / 255).unflatten(1, (4, 7))
        return ActionChunk(values, torch.ones(values.shape[:2]).bool(), ACTION.mode), state


if __name__ == "__main__":
    policy, language, noise = PluginPolicy(), torch.zeros(2, 0, 0), Seeds(torch.arange(2))
    seen = random_observation(policy.spec, 2, torch.Generator().manual_seed(0))
    batch = WindowBatch(torch.zeros(2), (), seen, torch.rand(2, 4, 7), torch.ones(2, 4).bool())
    policy.loss(batch, language, noise).total.backward()
    print("actions (B, H, A):", tuple(policy.act(seen, language, NoState())[0].values.shape))
