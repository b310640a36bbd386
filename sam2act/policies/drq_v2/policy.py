"""DrQ-v2 (arXiv 2107.09645) as a policy of this project.

Legend: B environments or samples, T frames of an observation, K = 1 camera, C = 3 T, S pixels per
side, A numbers of an action.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.actions import ActionSpec, Component
from sam2act.core.specs import CameraSpec, PolicySpec
from sam2act.core.types import ActionChunk, Observation
from sam2act.policies.base import BuildOptions, PolicyState
from sam2act.policies.drq_v2.augmentation import random_overlay, random_shift
from sam2act.policies.drq_v2.config import DrQv2Config
from sam2act.policies.drq_v2.networks import Actor, Critic, Encoder, initialise
from sam2act.policies.online import OnlinePolicy, Transitions

INSIDE = 1e-6  # distance of noisy actions from the ends of their range
SVEA_SHARE = 0.5  # of the overlaid images in the critic's loss
CONTROL = "raw"


class DrQv2Policy(OnlinePolicy):
    """Stacked frames of one camera in, actions in [-1, 1] out."""

    Config = DrQv2Config
    may_change = ("stddev_schedule", "stddev_clip", "lr", "tau")

    def __init__(self, config: DrQv2Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(3 * config.frame_stack, config.image_size, config.channels)
        sizes = (self.encoder.size, config.feature_dim, config.hidden_dim, config.action_size)
        self.actor, self.critic = Actor(*sizes), Critic(*sizes)
        initialise(self)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.overlays: Tensor | None = None  # (N, 3, S, S) pictures for `svea`; None = colours
        self.optimizers = {
            name: torch.optim.Adam(getattr(self, name).parameters(), lr=config.lr)
            for name in ("encoder", "actor", "critic")
        }

    @classmethod
    def build(
        cls, config: DrQv2Config, experiment: ExperimentConfig, options: BuildOptions
    ) -> DrQv2Policy:
        """A policy with fresh weights."""
        return cls(config)

    @property
    def spec(self) -> PolicySpec:
        """The last frames of one camera; one action per frame."""
        config = self.config
        action = Component("action", config.action_size, "of its range", "", -1.0, 1.0)
        return PolicySpec(
            (CameraSpec(config.camera, config.image_size, config.image_size, depth=False),),
            language=None,
            state=(),
            action=ActionSpec(CONTROL, (action,), rate=config.action_rate),
            offsets=tuple(range(1 - config.frame_stack, 1)),
        )

    # -------------------------------------------------------------------------------- acting
    def act(
        self, observation: Observation, language: Tensor, state: Any
    ) -> tuple[ActionChunk, PolicyState]:
        """The mean action of B environments."""
        action = self.actor(self.encoder(stacked(observation.rgb)))
        valid = torch.ones(len(action), 1, dtype=torch.bool, device=action.device)
        return ActionChunk(action[:, None], valid, CONTROL), state

    @torch.no_grad()
    def explore(self, pixels: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """(B, A) the mean action with noise that grows smaller."""
        mean = self.actor(self.encoder(pixels.float()))
        return _noisy(mean, self.config.stddev(step), None, generator)

    # ------------------------------------------------------------------------------ learning
    def update(self, batch: Transitions, step: int, generator: torch.Generator) -> dict[str, float]:
        """One step of critic and encoder, one of the actor; the target follows."""
        config, deviation = self.config, self.config.stddev(step)
        pixels = random_shift(batch.pixels, config.shift, generator)
        encoded = self.encoder(pixels)
        with torch.no_grad():
            later = self.encoder(random_shift(batch.next_pixels, config.shift, generator))
            action = _noisy(self.actor(later), deviation, config.stddev_clip, generator)
            value = batch.reward + batch.discount * torch.min(*self.target(later, action))
        loss = _error(self.critic(encoded, batch.action), value)
        if config.algorithm == "svea":
            overlaid = random_overlay(pixels, config.overlay, generator, self.overlays)
            other = _error(self.critic(self.encoder(overlaid), batch.action), value)
            loss = (1 - SVEA_SHARE) * loss + SVEA_SHARE * other
        self._step(loss, "encoder", "critic")
        seen = encoded.detach()
        action = _noisy(self.actor(seen), deviation, config.stddev_clip, generator)
        actor_loss = -torch.min(*self.critic(seen, action)).mean()
        self._step(actor_loss, "actor")
        self._follow()
        return {
            "critic_loss": float(loss.detach()),
            "actor_loss": float(actor_loss.detach()),
            "value": float(value.mean()),
            "stddev": deviation,
        }

    def _step(self, loss: Tensor, *names: str) -> None:
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            self.optimizers[name].step()

    @torch.no_grad()
    def _follow(self) -> None:
        pairs = zip(self.target.parameters(), self.critic.parameters(), strict=True)
        for target, parameter in pairs:
            target.lerp_(parameter, self.config.tau)

    def optimizer_state(self) -> dict[str, Any]:
        """The state of the three optimisers."""
        return {name: one.state_dict() for name, one in self.optimizers.items()}

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Take what `optimizer_state` gave."""
        for name, one in self.optimizers.items():
            one.load_state_dict(state[name])


def stacked(rgb: Tensor) -> Tensor:
    """(B, 3 T, S, S) float of images (B, T, 1, S, S, 3), or (B, 1, S, S, 3) of one frame."""
    frames = rgb.squeeze(-4) if rgb.dim() == 6 else rgb
    return frames.permute(0, 1, 4, 2, 3).flatten(1, 2).float()


def _error(estimates: tuple[Tensor, Tensor], value: Tensor) -> Tensor:
    return F.mse_loss(estimates[0], value) + F.mse_loss(estimates[1], value)


def _noisy(
    mean: Tensor, deviation: float, most: float | None, generator: torch.Generator
) -> Tensor:
    """`mean` with normal noise, cut to `most` and to the range; gradients pass through the cut."""
    noise = deviation * torch.randn(mean.shape, generator=generator).to(mean)
    if most is not None:
        noise = noise.clamp(-most, most)
    action = mean + noise
    return action + (action.clamp(-1 + INSIDE, 1 - INSIDE) - action).detach()
