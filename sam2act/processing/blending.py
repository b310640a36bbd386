"""Means of actions that mean the same moment.

Legend: n actions, A numbers of an action; H actions of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Where an action of a control mode holds a unit quaternion.
QUATERNIONS = {"keyframe_pose": slice(3, 7), "ee_pose": slice(3, 7)}
EPSILON = 1e-7  # of the denominator of the cosine


def similarity_weights(actions: Tensor, alpha: float) -> Tensor:
    """(n,) weights exp(alpha * cosine similarity to the first of `actions`), with sum 1.

    Args:
        actions: (n, A) float, in the units of the action.
        alpha: 0 weighs all the same, larger values favour those that agree with the first one.
    """
    norms = torch.linalg.vector_norm(actions, dim=-1)
    cosines = (actions @ actions[0]) / (norms * norms[0] + EPSILON)
    return torch.softmax(alpha * cosines, dim=0)


def blend(actions: Tensor, weights: Tensor, space: str) -> Tensor:
    """(..., A) weighted mean of `actions` (..., n, A); quaternions stay unit ones.

    Args:
        actions: (..., n, A); quaternions count with the sign that is nearer to the first one's.
        weights: (..., n), with sum 1.
        space: control mode of the actions.
    """
    part = QUATERNIONS.get(space)
    if part is None:
        return (weights[..., None] * actions).sum(-2)
    actions = actions.clone()
    turns = actions[..., part]
    opposite = (turns * turns[..., :1, :]).sum(-1, keepdim=True) < 0
    actions[..., part] = torch.where(opposite, -turns, turns)
    mean = (weights[..., None] * actions).sum(-2)
    mean[..., part] = torch.nn.functional.normalize(mean[..., part], dim=-1)
    return mean


def smoothed(values: Tensor, width: int, space: str) -> Tensor:
    """(..., H, A) centred moving average over `width` (odd) neighbours, ends repeated."""
    steps, half = torch.arange(values.shape[-2], device=values.device), width // 2
    order = [0, *range(-half, 0), *range(1, half + 1)]  # the step itself first
    offsets = torch.tensor(order, device=values.device)
    neighbours = (steps[:, None] + offsets).clamp(0, values.shape[-2] - 1)
    actions = as_float(values)[..., neighbours, :]
    return blend(actions, actions.new_full((width,), 1 / width), space)


def as_float(values: Tensor) -> Tensor:
    """`values` in their own precision if it is a floating one, else float32."""
    return values if values.is_floating_point() else values.float()
