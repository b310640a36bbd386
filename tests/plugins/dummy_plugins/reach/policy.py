"""A policy that looks at one image and gives chunks of four steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reach.config import CHUNK, ChunkerConfig, spec_of
from sam2act.config.schema import ExperimentConfig
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, LossOutput, Observation, WindowBatch
from sam2act.policies.base import BuildOptions, NoState, Policy, Seeds


class Chunker(Policy):
    """Where each colour lies in the image, and the state, through two layers."""

    Config = ChunkerConfig
    term_names = ("step_error",)

    def __init__(self, spec: PolicySpec, width: int, scale: float) -> None:
        super().__init__()
        self._spec, self._scale = spec, scale
        self.network = nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, CHUNK * 2))

    @classmethod
    def build(
        cls, config: ChunkerConfig, experiment: ExperimentConfig, options: BuildOptions
    ) -> Chunker:
        """A policy with fresh weights."""
        return cls(spec_of(config, experiment), config.width, config.scale)

    @property
    def spec(self) -> PolicySpec:
        """What the policy wants and gives."""
        return self._spec

    def loss(self, batch: WindowBatch, language: Tensor, noise: Seeds) -> LossOutput:
        """Squared error of the valid actions, in units of the network."""
        error = (self._steps(batch.observed) - batch.action) / self._scale
        loss = error.square().mean(-1)[batch.valid].mean()
        return LossOutput(loss, {"step_error": loss.detach()})

    def act(
        self, observation: Observation, language: Tensor, state: NoState
    ) -> tuple[ActionChunk, NoState]:
        """Four steps for each of B environments."""
        steps = self._steps(observation)
        valid = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        return ActionChunk(steps, valid, self.spec.action.mode), state

    def _steps(self, observation: Observation) -> Tensor:
        """(B, 4, 2) metres."""
        image = observation.rgb[:, 0].float() + 1e-3  # (B, H, W, 3)
        weights = image / image.sum((1, 2), keepdim=True)
        axis = torch.linspace(-1, 1, image.shape[1], device=image.device)[:, None]
        places = [(weights.sum(along) * axis).sum(1) for along in (1, 2)]  # (B, 3) each
        features = torch.cat([*places, observation.proprioception[:, :2]], -1)
        return self._scale * self.network(features).unflatten(-1, (CHUNK, -1))
