"""Drawing actions and frames from the heads.

Legend: B environments, H actions, A numbers of an action, N tokens of the future, C numbers of a
token, D width. Every environment has a generator of its own, on the CPU.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sam2act.policies.uva.autoencoder import Autoencoder, colours_of
from sam2act.policies.uva.config import FRAMES, UVAConfig
from sam2act.policies.uva.heads import PROCESS, ActionHead
from sam2act.policies.uva.network import Clip, JointTransformer, latents_of

Generators = Sequence[torch.Generator]


def sample_actions(
    head: ActionHead, condition: Tensor, generators: Generators, config: UVAConfig
) -> Tensor:
    """(B, H, A) normalised actions under `condition` (B, H, D); none is beyond -1 to 1."""
    count, horizon, _ = condition.shape
    rows = condition.flatten(0, 1)

    def draw() -> Tensor:
        shape = (horizon, config.action_dim)
        parts = [torch.randn(shape, generator=generator) for generator in generators]
        return torch.cat(parts).to(rows)

    values: Tensor = PROCESS.respaced(config.act_diff_testing_steps).sample(
        lambda x, step: head.net(x, step, rows),
        draw(),
        draw,
        temperature=config.temperature,
        clip=True,
    )
    return values.reshape(count, horizon, -1)


def sample_video(
    model: JointTransformer,
    autoencoder: Autoencoder,
    clip: Clip,
    generators: Generators,
    config: UVAConfig,
) -> Tensor:
    """The frames to come, (B, 4, S, S, 3) uint8.

    Tokens are filled in in `num_iter` rounds in random order (MaskGIT); a cosine says how many are
    hidden after each.
    """
    assert clip.history is not None
    tokens = torch.zeros_like(clip.history)
    places = torch.stack([torch.rand(config.frame_tokens, generator=g) for g in generators])
    order = places.argsort(dim=1).argsort(dim=1).to(tokens.device)  # (B, S)
    known = 0  # tokens of a frame
    for until in rounds(config.frame_tokens, config.num_iter):
        hidden = (order >= known).repeat(1, FRAMES)
        latents = model(dataclasses.replace(clip, future=tokens, mask=hidden))
        new = hidden & (order < until).repeat(1, FRAMES)
        tokens[new] = _sample_tokens(model, latents[new], new, generators, config)
        known = until
    latents = latents_of(tokens, config.patch_size, config.latent_side)
    pictures = autoencoder.decode(latents.flatten(0, 1) / autoencoder.scale)
    frames: Tensor = colours_of(pictures).unflatten(0, (len(tokens), FRAMES))
    return frames


def rounds(places: int, count: int) -> list[int]:
    """How many of the tokens of a frame are known after each of at most `count` rounds."""
    left = [math.floor(places * math.cos(math.pi / 2 * x / count)) for x in range(1, count)]
    return sorted({places - number for number in left if number < places} | {places})


def _sample_tokens(
    model: JointTransformer,
    condition: Tensor,
    new: Tensor,
    generators: Generators,
    config: UVAConfig,
) -> Tensor:
    """(M, C) tokens at the places `new` (B, N) under `condition` (M, D)."""
    counts = new.sum(dim=1).tolist()

    def draw() -> Tensor:
        shapes = [(count, config.token_channels) for count in counts]
        parts = [torch.randn(s, generator=g) for s, g in zip(shapes, generators, strict=True)]
        return torch.cat(parts).to(condition)

    tokens: Tensor = PROCESS.respaced(config.num_sampling_steps).sample(
        lambda x, step: model.diffloss.net(x, step, condition),
        draw(),
        draw,
        temperature=config.temperature,
    )
    return tokens
