"""Losses between logits and a mask, by which the weights of SAM's three masks are learned."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum p + sum t + 1), the mean over B.

    Args:
        logits: (B, N).
        mask: (B, N) of 0 and 1.
    """
    chance = logits.sigmoid()
    shared = 2 * (chance * mask).sum(-1) + 1
    return (1 - shared / (chance.sum(-1) + mask.sum(-1) + 1)).mean()


def focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Focal loss with alpha 0.25 and gamma 2, the mean over all entries (B, N)."""
    chance = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    wrong = 1 - (chance * mask + (1 - chance) * (1 - mask))
    alpha = FOCAL_ALPHA * mask + (1 - FOCAL_ALPHA) * (1 - mask)
    return (alpha * wrong**FOCAL_GAMMA * entropy).mean()
