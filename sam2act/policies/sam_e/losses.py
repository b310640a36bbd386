"""Losses of keyframe sequences: as those of single keyframes, over the steps that there are.

Legend: B batch, V view, S side of a rendered view, H keyframes of a sequence, K rotation bins per
axis.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sam2act.core.types import KeyframeSequenceBatch
from sam2act.policies.multiview.losses import ACTION_TERMS, heatmap_cross_entropy
from sam2act.policies.multiview.one_stage_branch import action_logits


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (B, H, ...) values over the steps that are `valid` (B, H), and all further axes."""
    weight = valid.to(values.dtype).reshape(*valid.shape, *(1,) * (values.ndim - 2))
    weight = weight.expand_as(values)
    return (values * weight).sum() / weight.sum()


def sequence_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy (B, H, V) of heat maps.

    Args:
        logits: (B, V, H, S, S).
        target: (B, H, V, S, S).
    """
    flat = heatmap_cross_entropy(logits.transpose(1, 2).flatten(0, 1), target.flatten(0, 1))
    by_step: Tensor = flat.unflatten(0, target.shape[:2])
    return by_step


def sequence_action_losses(
    scores: Tensor, bins: Tensor, batch: KeyframeSequenceBatch
) -> dict[str, Tensor]:
    """Means over the valid steps of the discrete action parts, by the names of `ACTION_TERMS`.

    Args:
        scores: (B, H, 3 K + 4).
        bins: (B, H, 3) rotation bins.
        batch: has the other labels.
    """
    logits = action_logits(scores.flatten(0, 1))
    parts = [*logits.rotation.unbind(1), logits.gripper, logits.collision]
    labels = [*bins.unbind(-1), batch.grippers, batch.collisions]
    terms = {}
    for name, part, label in zip(ACTION_TERMS, parts, labels, strict=True):
        entropy = F.cross_entropy(part.float(), label.flatten(), reduction="none")
        terms[name] = masked_mean(entropy.view(label.shape), batch.valid)
    return terms
