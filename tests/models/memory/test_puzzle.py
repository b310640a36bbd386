"""A decision that only the past can settle, learned in two stages by a tiny network.

Keyframe 0 shows a mark at one of four places and asks for it; keyframe 1 asks for a fixed place;
keyframe 2 looks the same in every sequence, pixel for pixel, and asks for the place marked in
keyframe 0. Without the past its answer is right in a quarter of the sequences.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.config.schema import NetworkConfig
from sam2act.models.sam2act_plus import SAM2ActPlusNetwork
from sam2act.policy.losses import heatmap_loss
from sam2act.policy.targets import position_heatmaps
from sam2act.rendering.renderer import append_pixel_location
from sam2act.rendering.views import project

WINDOW = 3
CONFIG = load_network(
    "configs/mvt/tiny.yaml",
    f"use_memory True num_maskmem {WINDOW - 1} img_size 32 depth 2 attn_dim 32 attn_heads 2 "
    "lang_len 1 lang_dim 4 "
    "memory_init local memory_mask centred memory_pos consistent memory_tpos_std 0.5 "
    "memory_dim 32 memory_layers 2 memory_hidden 256 memory_dropout 0.0 memory_mask_size 16 "
    "memory_fuser_kernel 3 frozen_eval True",
)
# Four corners of a tetrahedron differ in every view; the fixed place is none of them.
PLACES = 0.75 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
FIXED_PLACE = torch.tensor([0.25, 0.25, 0.25])
PHASE = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
MARK_SIDE, NOISE = 5.0, 0.1
STAGE_ONE_STEPS, STAGE_ONE_SEQUENCES, STAGE_ONE_RATE = 120, 8, 3e-3
STAGE_TWO_STEPS, STAGE_TWO_SEQUENCES, STAGE_TWO_RATE = 150, 8, 4e-3
UPSAMPLER_RATE = 0.15  # times the rate of the new modules
WARM_UP = 10


@dataclass(frozen=True)
class Sequences:
    """n sequences of `WINDOW` keyframes, frame after frame."""

    images: Tensor  # (n * W, V, 10, S, S)
    proprio: Tensor  # (n * W, 4)
    language: Tensor  # (n * W, 1, 4)
    answer: Tensor  # (n * W, 3)


def draw(network: SAM2ActPlusNetwork, count: int, generator: torch.Generator) -> Sequences:
    """Fresh sequences with random places, mark colours and image noise."""
    config, views = network.config, len(network.views)
    place = PLACES[torch.randint(len(PLACES), (count,), generator=generator)]
    colour = 0.5 + 0.5 * torch.rand(count, 1, 3, 1, 1, generator=generator)
    size = config.img_size
    pixel = project(place, network.views, size)  # (count, V, 2)
    grid = torch.arange(size) + 0.5
    near = (grid - pixel[..., None]).abs() < MARK_SIDE / 2  # (count, V, 2, S)
    mark = (near[:, :, 1, :, None] & near[:, :, 0, None, :])[:, :, None]  # (count, V, 1, S, S)
    images = torch.zeros(count, WINDOW, views, 7, size, size)
    rgb = images[:, :, :, 3:6]
    rgb[:, :2] = NOISE * torch.rand(count, 2, views, 3, size, size, generator=generator)
    rgb[:, 0] = torch.where(mark, colour, rgb[:, 0])
    answer = torch.stack([place, FIXED_PLACE.expand_as(place), place], dim=1)
    return Sequences(
        append_pixel_location(images.flatten(0, 1)),
        PHASE.repeat(count, 1),
        torch.ones(count * WINDOW, config.lang_len, config.lang_dim),
        answer.flatten(0, 1),
    )


def target_maps(network: SAM2ActPlusNetwork, sequences: Sequences) -> Tensor:
    size = network.config.img_size
    return position_heatmaps(sequences.answer, network.views, size, 1.0, half_projection=False)


def without_past(network: SAM2ActPlusNetwork, sequences: Sequences) -> Tensor:
    """Heat maps of every frame with empty bank."""
    bank = network.empty_bank(len(sequences.images))
    return network.coarse_step(
        sequences.images, sequences.proprio, sequences.language, bank
    ).heatmaps


def train(network: SAM2ActPlusNetwork, groups: list[dict], steps: int, sequences: int, maps) -> None:
    """AdamW with warm-up and cosine on fresh sequences; `maps` gives the heat maps of a batch."""
    generator = torch.Generator().manual_seed(steps)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / WARM_UP)
            * (0.505 + 0.495 * float(torch.cos(torch.tensor(torch.pi * step / steps))))
        ),
    )
    network.train()
    for step in range(steps):
        batch = draw(network, sequences, generator)
        loss = heatmap_loss(maps(network, batch), target_maps(network, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 19:
            print(step + 1, f"loss {float(loss.detach()):.3f}", {k: round(v, 3) for k, v in accuracy(network, 64).items()})
            network.train()


@torch.no_grad()
def accuracy(network: SAM2ActPlusNetwork, count: int) -> dict[str, float]:
    """Share of fresh sequences whose last answer is right, with and without the past."""
    network.eval()
    batch = draw(network, count, torch.Generator().manual_seed(12345))
    frames = [
        [part.unflatten(0, (count, WINDOW))[:, time] for part in vars(batch).values()]
        for time in range(WINDOW)
    ]
    bank, right = network.empty_bank(count), {}
    for time, (images, proprio, language, answer) in enumerate(frames):
        step = network.coarse_step(images, proprio, language, bank)
        right[f"keyframe {time}"] = share_right(network, step.heatmaps, answer)
        if time == WINDOW - 1:
            emptied = bank.reset(torch.arange(count))
            heatmaps = network.coarse_step(images, proprio, language, emptied).heatmaps
            right["emptied"] = share_right(network, heatmaps, answer)
        bank = step.bank
    return right


def share_right(network: SAM2ActPlusNetwork, heatmaps: Tensor, answer: Tensor) -> float:
    """Share of predicted positions (arg-max over the views) within 0.3 of the right one."""
    distance = (network.peak(heatmaps) - answer).norm(dim=-1)
    return float((distance < 0.3).float().mean())


if __name__ == "__main__":
    torch.manual_seed(0)
    network = SAM2ActPlusNetwork(CONFIG)
    t = time.time()
    network.requires_grad_(True)
    stage1 = [{"params": [*network.coarse.parameters(), *network.encoders[0].parameters()], "lr": STAGE_ONE_RATE}]
    train(network, stage1, STAGE_ONE_STEPS, STAGE_ONE_SEQUENCES, without_past)
    print("stage1", time.time() - t)
    t = time.time()
    network.freeze_stage_one()
    with torch.no_grad():
        batch = draw(network, 64, torch.Generator().manual_seed(9))
        network.eval()
        network.memory.calibrate(network.coarse_tokens(batch.images, batch.proprio, batch.language)[0])
    stage2 = [
        {"params": [*network.memory.parameters()], "lr": STAGE_TWO_RATE},
        {"params": [*network.coarse.upsampler.parameters()], "lr": STAGE_TWO_RATE * UPSAMPLER_RATE},
    ]
    train(network, stage2, STAGE_TWO_STEPS, STAGE_TWO_SEQUENCES,
          lambda n, b: n.window_heatmaps(b.images, b.proprio, b.language))
    print("stage2", time.time() - t, accuracy(network, 256))
