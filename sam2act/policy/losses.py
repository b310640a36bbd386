"""Loss terms. All are cross-entropies in float32, mean over batch (and views)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sam2act.models.heads import ActionLogits

HEATMAP_TERM = "trans_loss"
ACTION_TERMS = ("rot_loss_x", "rot_loss_y", "rot_loss_z", "grip_loss", "collision_loss")


def heatmap_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy between soft target maps and the soft-max over the pixels of each view.

    Args:
        logits: (B, V, S, S).
        target: (B, V, S, S); an all-zero map contributes zero.

    Returns:
        scalar, mean over batch and views.
    """
    log_probability = logits.flatten(2).float().log_softmax(-1)
    return -(target.flatten(2) * log_probability).sum(-1).mean()


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
