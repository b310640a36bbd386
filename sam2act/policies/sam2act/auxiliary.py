"""Predicting what the views will show at the next keyframe: a second task for the coarse branch.

A light decoder and a diffusion network guess the image tokens of the next keyframe's views from the
tokens of the multi-view transformer, none of the new ones being seen (the idea of UVA). It exists
in training alone: files of weights do not hold it.

Legend: B samples, V views, M = B * V, P tokens per side, C width of the tokens, T channels of the
image tokens, K tokens that are learnt per sample and update.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2act.nn.diffusion.adaln_mlp import SimpleMLPAdaLN
from sam2act.nn.diffusion.learned_variance import LearnedVarianceDiffusion
from sam2act.nn.diffusion.schedules import cosine_betas
from sam2act.nn.linear import Linear
from sam2act.nn.vit_block import Block
from sam2act.policies.base import Part
from sam2act.policies.multiview.targets import TrainingNoise

TERM = "next_keyframe_loss"
WIDTH, HEADS, DEPTH = 64, 4, 3  # of decoder and diffusion network
LEARNT = 64  # K
STEPS = 1000
INITIAL_STD = 0.02


@dataclass(frozen=True)
class AuxiliaryNoise:
    """The random numbers of the second task for B samples, beside those of the first."""

    keyframes: TrainingNoise
    token: Tensor  # (B, K) int64, which of the V P P tokens are learnt
    step: Tensor  # (B, K) int64
    noise: Tensor  # (B, K, T)

    def select(self, part: Part) -> AuxiliaryNoise:
        """Those of some samples."""
        own = (self.token[part], self.step[part], self.noise[part])
        return AuxiliaryNoise(self.keyframes.select(part), *own)

    def to(self, device: torch.device | str) -> AuxiliaryNoise:
        """The same numbers on `device`."""
        own = (value.to(device) for value in (self.token, self.step, self.noise))
        return AuxiliaryNoise(self.keyframes.to(device), *own)


class NextKeyframe(nn.Module):
    """Decoder and diffusion network."""

    def __init__(self, width: int, channels: int, places: int) -> None:
        """With fresh weights.

        Args:
            width: C.
            channels: T.
            places: V P P tokens of a sample.
        """
        super().__init__()
        self.channels, self.places = channels, places
        self.embed = Linear(width, WIDTH)
        self.position = nn.Parameter(torch.zeros(1, places, WIDTH))
        nn.init.normal_(self.position, std=INITIAL_STD)
        self.block = Block(WIDTH, HEADS)
        self.norm = nn.LayerNorm(WIDTH)
        self.net = SimpleMLPAdaLN(channels, WIDTH, WIDTH, DEPTH)
        for parameter in self.net.parameters():  # under the published LAMB zeros stay zeros
            if parameter.dim() > 1 and not parameter.any():
                nn.init.normal_(parameter, std=INITIAL_STD)
        self.process = LearnedVarianceDiffusion(cosine_betas(STEPS))

    def draw(self, keyframes: TrainingNoise, n: int, generator: torch.Generator) -> AuxiliaryNoise:
        """Random numbers of `n` samples, beside `keyframes`."""
        size = (n, LEARNT)
        return AuxiliaryNoise(
            keyframes,
            token=torch.randint(self.places, size, generator=generator),
            step=torch.randint(STEPS, size, generator=generator),
            noise=torch.randn((*size, self.channels), generator=generator),
        )

    def loss(self, tokens: Tensor, wanted: Tensor, shown: Tensor, noise: AuxiliaryNoise) -> Tensor:
        """Mean over the samples whose next keyframe is shown; zero without any.

        Args:
            tokens: (M, C, P, P) of the multi-view transformer.
            wanted: (M, T, P, P) image tokens of the next keyframe.
            shown: (B,) bool.
            noise: of the B samples.
        """
        rows = torch.arange(len(shown), device=shown.device)[:, None]
        x = self.embed(_by_sample(tokens, len(shown))) + self.position
        condition = self.norm(self.block(x))[rows, noise.token].flatten(0, 1)
        clean = _by_sample(wanted, len(shown))[rows, noise.token].flatten(0, 1).float()
        steps, drawn = noise.step.flatten(), noise.noise.flatten(0, 1)
        with torch.autocast(tokens.device.type, enabled=False):
            condition = condition.float()
            found = self.process.loss(
                lambda value, step: self.net(value, step, condition), clean, steps, drawn
            )
        weights = shown.float().repeat_interleave(LEARNT)
        mean: Tensor = (found.total * weights).sum() / weights.sum().clamp(min=1)
        return mean


def image_tokens(features: Tensor) -> Tensor:
    """(M, T, P, P) features of an image encoder -> the same with zero mean and unit variance over
    the channels of each."""
    moved = features.detach().float().movedim(1, -1)
    normed: Tensor = F.layer_norm(moved, moved.shape[-1:]).movedim(-1, 1)
    return normed


def _by_sample(maps: Tensor, count: int) -> Tensor:
    """(M, C, P, P) -> (B, V P P, C)."""
    tokens: Tensor = maps.unflatten(0, (count, -1)).movedim(2, -1).flatten(1, 3)
    return tokens
