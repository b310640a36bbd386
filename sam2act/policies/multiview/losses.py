"""Loss terms. All are cross-entropies in float32, mean over batch (and views).

Legend: B batch, V view, S side of a rendered view.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.policies.multiview.heads import ActionLogits

HEATMAP_TERM = "trans_loss"
EXCESS = "excess"  # per sample: `excess_loss` of the coarse branch
ACTION_TERMS = ("rot_loss_x", "rot_loss_y", "rot_loss_z", "grip_loss", "collision_loss")


def heatmap_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy between soft target maps and the soft-max over the pixels of each view.

    Args:
        logits: (B, V, S, S).
        target: (B, V, S, S); an all-zero map gives zero.

    Returns:
        (B, V); its mean is the loss of the heat maps.
    """
    log_probability = logits.flatten(2).float().log_softmax(-1)
    return -(target.flatten(2) * log_probability).sum(-1)


@torch.no_grad()
def excess_loss(cross_entropy: Tensor, target: Tensor) -> Tensor:
    """What a perfect prediction would save: cross-entropy minus the entropy of the target map.

    Args:
        cross_entropy: (B, V) of `heatmap_cross_entropy`.
        target: (B, V, S, S), the maps it was computed for.

    Returns:
        (B,) detached, mean over the views whose map is not empty; NaN where all are.
    """
    pixels = target.flatten(2)
    shown = pixels.sum(-1) > 0
    excess = cross_entropy - torch.special.entr(pixels).sum(-1)
    mean: Tensor = excess.where(shown, 0).sum(1) / shown.sum(1)
    return mean


def action_losses(
    logits: ActionLogits, bins: Tensor, gripper_open: Tensor, ignore_collisions: Tensor
) -> dict[str, Tensor]:
    """Cross-entropies of the discrete action parts, by the names of `ACTION_TERMS`.

    Args:
        logits: scores of the action head.
        bins: (B, 3) rotation bins.
        gripper_open: (B,) 0 or 1.
        ignore_collisions: (B,) 0 or 1.
    """
    scores = [*logits.rotation.unbind(1), logits.gripper, logits.collision]
    labels = [*bins.unbind(1), gripper_open, ignore_collisions]
    return {
        name: F.cross_entropy(score.float(), label)
        for name, score, label in zip(ACTION_TERMS, scores, labels, strict=True)
    }
