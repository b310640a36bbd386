"""The random numbers of UVA: those of its loss, and how often an episode has drawn.

Legend: B samples, S tokens of a frame, N tokens of the future, C numbers of a token, H actions, A
numbers of an action, F frames of a window or of its future, P numbers of a state.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sam2act.policies.base import Part
from sam2act.policies.uva.config import ACTIONS, FRAMES, HISTORY, UVAConfig
from sam2act.policies.uva.heads import DIFFUSION_STEPS

# Frames of the history that a policy is shown, and all that training may show in their place.
SHOWN = tuple(range(FRAMES - 1, HISTORY, HISTORY // FRAMES))
HISTORIES = tuple(
    (*steps, HISTORY - 1)
    for steps in itertools.combinations_with_replacement(range(HISTORY), FRAMES - 1)
)
_ON_CPU = ("mode", "ratio")  # decide what is computed


@dataclass(frozen=True)
class UVANoise:
    """The random numbers of the loss of B samples.

    A mode and a share of hidden tokens hold for a whole batch: those of its first sample count.
    """

    mode: Tensor  # (B,) from 0 to 1
    ratio: Tensor  # (B,) share of the tokens that are hidden
    order: Tensor  # (B, S) int64, order in which tokens are hidden
    history: Tensor  # (B,) int64, row of `HISTORIES`
    posterior: Tensor  # (B, F, c, s, s) standard normal
    video_step: Tensor  # (B, N) int64
    video: Tensor  # (B, N, C) standard normal
    action_step: Tensor  # (B, H) int64
    action: Tensor  # (B, H, A) standard normal
    text: Tensor  # (B,) from 0 to 1
    state_step: Tensor  # (B, F) int64
    state: Tensor  # (B, F, P) standard normal, of the parts of the state that are predicted

    def select(self, part: Part) -> UVANoise:
        """Those of some samples."""
        return UVANoise(*(getattr(self, item.name)[part] for item in fields(self)))

    def to(self, device: torch.device | str) -> UVANoise:
        """The same numbers on `device`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        moved = {n: v if n in _ON_CPU else v.to(device) for n, v in values.items()}
        return UVANoise(**moved)


def draw(config: UVAConfig, count: int, generator: torch.Generator) -> UVANoise:
    """The random numbers of `count` samples, on the generator's device."""
    tokens, device = FRAMES * config.frame_tokens, generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    def steps(*shape: int) -> Tensor:
        return torch.randint(DIFFUSION_STEPS, shape, generator=generator, device=device)

    mode, side = uniform(count), config.latent_side
    if config.mode_sampling == "shared":
        mode = mode[:1].expand(count)
    return UVANoise(
        mode=mode.cpu(),
        ratio=hidden_shares(uniform(count).cpu(), config),
        order=uniform(count, config.frame_tokens).argsort(dim=1),
        history=torch.randint(len(HISTORIES), (count,), generator=generator, device=device),
        posterior=normal(count, 2 * FRAMES, config.vae_embed_dim, side, side),
        video_step=steps(count, tokens),
        video=normal(count, tokens, config.token_channels),
        action_step=steps(count, ACTIONS),
        action=normal(count, ACTIONS, config.action_dim),
        text=uniform(count),
        state_step=steps(count, FRAMES * config.predict_proprioception),
        state=normal(count, FRAMES, len(config.predicted_columns)),
    )


def hidden_shares(uniform: Tensor, config: UVAConfig) -> Tensor:
    """Shares of hidden tokens from numbers between 0 and 1: a normal distribution around 1, cut off
    above 1 and below `mask_ratio_min`."""
    least = (config.mask_ratio_min - 1) / config.mask_ratio_std
    low = torch.special.ndtr(torch.tensor(least, dtype=torch.float64))
    place = torch.special.ndtri(low + uniform.double() * (0.5 - low))
    shares: Tensor = (1 + config.mask_ratio_std * place).clamp(config.mask_ratio_min, 1)
    return shares


def mask_of(noise: UVANoise) -> Tensor:
    """(B, N) bool: the hidden tokens, the same places in all frames."""
    count, places = noise.order.shape
    hidden = math.ceil(places * float(noise.ratio[0]))
    mask = torch.zeros(count, places, dtype=torch.bool, device=noise.order.device)
    mask.scatter_(1, noise.order[:, :hidden], True)
    return mask.repeat(1, FRAMES)
