"""Weights of the three masks that a segmenter proposes, learned on the reference image.

As published: AdamW on two numbers, whose features of extra points are disturbed in every step so
that the weights hold for other prompts too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.processing.sam_g.interfaces import DenseFeatures, PromptSegmenter
from sam2act.processing.sam_g.mask_losses import dice_loss, focal_loss
from sam2act.processing.sam_g.target import (
    ReferenceImage,
    Target,
    combined,
    feature_maps,
    find_points,
    first_prompt,
)

STEPS, RATE, EPSILON = 1000, 1e-3, 1e-4
DISTURBANCE = 0.01  # length of what is added to the unit features of extra points


def learn_weights(
    reference: ReferenceImage,
    target: Target,
    features: Sequence[DenseFeatures],
    segmenter: PromptSegmenter,
    match: str = "pooled",
    steps: int = STEPS,
) -> Target:
    """`target` with learned weights.

    Prompts that come again are decoded once.

    Args:
        reference: with the mask to learn.
        target: from `remember`.
        features: the same as there.
        segmenter: whose masks are weighted.
        match: see `find_points`.
        steps: updates.
    """
    maps, side = feature_maps(reference.view, features), reference.view.side
    segmenter.look(reference.view)
    random = torch.Generator().manual_seed(0)
    weights = target.weights.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([weights], lr=RATE, eps=EPSILON)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    truth = reference.mask.float().flatten()[None]
    decoded: dict[tuple[int, ...], Tensor] = {}
    found = find_points(maps, target, side, match)
    for _ in range(steps):
        if reference.points:
            disturbed = _disturbed(target, len(reference.points), random)
            found = find_points(maps, disturbed, side, match)
        key = tuple(found.points.flatten().tolist())
        if key not in decoded:
            decoded[key] = segmenter.propose(first_prompt(found, target)).logits.detach()
        logits = combined(decoded[key], weights).flatten()[None]
        optimizer.zero_grad()
        (dice_loss(logits, truth) + focal_loss(logits, truth)).backward()
        optimizer.step()
        schedule.step()
    return dataclasses.replace(target, weights=weights.detach())


def _disturbed(target: Target, points: int, random: torch.Generator) -> Target:
    """`target` with noise on the features of its extra points, the last `points` of its parts."""
    parts = []
    for rows in target.parts:
        noise = F.normalize(torch.randn(points, rows.shape[1], generator=random), dim=-1)
        moved = F.normalize(rows[-points:] + DISTURBANCE * noise, dim=-1)
        parts.append(torch.cat([rows[:-points], moved]))
    return dataclasses.replace(target, parts=tuple(parts))
