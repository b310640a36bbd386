"""Loss terms. All are cross-entropies in float32, mean over batch (and views)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sam2act.models.heads import ActionLogits


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
    """Cross-entropies of the discrete action parts.

    Args:
        logits: scores of the action head.
        bins: (B, 3) rotation bins.
        gripper_open: (B,) 0 or 1.
        ignore_collisions: (B,) 0 or 1.
    """
    rotation = logits.rotation.float()
    losses = {
        f"rot_loss_{axis}": F.cross_entropy(rotation[:, i], bins[:, i])
        for i, axis in enumerate("xyz")
    }
    losses["grip_loss"] = F.cross_entropy(logits.gripper.float(), gripper_open)
    losses["collision_loss"] = F.cross_entropy(logits.collision.float(), ignore_collisions)
    return losses
