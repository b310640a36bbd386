"""Action head of the fine branch: rotation bins, gripper and collision logits at a waypoint.

Legend: B batch, V view, M = B * V, C token width, P tokens per side, K rotation bins per axis.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from sam2act.nn.linear import Linear
from sam2act.policies.multiview.config import ActionHeadConfig
from sam2act.rendering.heatmaps import sample_inverse_distance


class ActionLogits(NamedTuple):
    """Unnormalised scores of the discrete action parts."""

    rotation: Tensor  # (B, 3, K): x, y, z Euler bins
    gripper: Tensor  # (B, 2), class 1 = open
    collision: Tensor  # (B, 2), class 1 = ignore collisions


class BinEncoding(nn.Module):
    """Sinusoidal encoding of a bin index: all sines first, then all cosines."""

    div_term: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        steps = torch.arange(0, width, 2, dtype=torch.float32)
        self.register_buffer(
            "div_term", torch.exp(steps * (-math.log(10000.0) / width))[None], persistent=False
        )

    def forward(self, bins: Tensor) -> Tensor:
        """(B,) integer -> (B, width)."""
        angle = bins[:, None] * self.div_term
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


def _mlp(channels: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    first, second = hidden
    return nn.Sequential(
        Linear(channels, first),
        nn.ReLU(),
        Linear(first, second),
        nn.ReLU(),
        Linear(second, outputs),
    )


class ActionHead(nn.Module):
    """Predicts the Euler bins one after the other (x, then y given x, then z given both)."""

    def __init__(self, config: ActionHeadConfig, views: int) -> None:
        super().__init__()
        width = 2 * views * config.token_width
        self.config = config
        self.gripper_collision = _mlp(width, config.head_hidden, 4)
        self.norm = nn.BatchNorm1d(width)
        self.bin_encoding = BinEncoding(width)
        self.rotation_x = _mlp(width, config.head_hidden, config.num_rot)
        self.rotation_y = _mlp(width, config.head_hidden, config.num_rot)
        self.rotation_z = _mlp(width, config.head_hidden, config.num_rot)

    def forward(
        self, x: Tensor, waypoint_px: Tensor, teacher_bins: Tensor | None = None
    ) -> ActionLogits:
        """Logits at a waypoint.

        Args:
            x: (M, C, P, P) tokens of the fine branch.
            waypoint_px: (B, V, 2) waypoint in every view, (column, row) pixels.
            teacher_bins: (B, 2) x and y bins to condition on; None = the head's own arg-max.
        """
        features = self.features(x, waypoint_px)
        gripper, collision = self.gripper_collision(features).split(2, dim=-1)
        features = self.norm(features)
        rotation_x = self.rotation_x(features)
        bin_x = rotation_x.argmax(-1) if teacher_bins is None else teacher_bins[:, 0]
        features_y = features + self.bin_encoding(bin_x)
        rotation_y = self.rotation_y(features_y)
        bin_y = rotation_y.argmax(-1) if teacher_bins is None else teacher_bins[:, 1]
        rotation_z = self.rotation_z(features_y + self.bin_encoding(bin_y))
        return ActionLogits(
            torch.stack([rotation_x, rotation_y, rotation_z], dim=1), gripper, collision
        )

    def features(self, x: Tensor, waypoint_px: Tensor) -> Tensor:
        """See `waypoint_features`."""
        return waypoint_features(x, waypoint_px, self.config)


def waypoint_features(tokens: Tensor, waypoint_px: Tensor, config: ActionHeadConfig) -> Tensor:
    """Global maximum and local sample of every view.

    The two halves are flattened in opposite orders, (c, v) and (v, c) (quirk N7).

    Args:
        tokens: (M, C, P, P) of the fine branch.
        waypoint_px: (B, V, 2) waypoint in every view, (column, row) pixels.
        config: how a place is sampled.

    Returns:
        (B, 2 * V * C).
    """
    views = waypoint_px.shape[1]
    overall = reduce(tokens, "(b v) c h w -> b (c v)", "max", v=views)
    sampled = _sample(tokens, waypoint_px.flatten(0, 1), config)
    return torch.cat([overall, rearrange(sampled, "(b v) c -> b (v c)", v=views)], dim=1)


def _sample(tokens: Tensor, pixel: Tensor, config: ActionHeadConfig) -> Tensor:
    """(M, C, P, P) at (M, 2) pixels -> (M, C)."""
    # Cell i is addressed as if its centre were pixel i * patch_size, and whatever lies beyond
    # the last cell gives zero with `inverse_distance` (quirk N8).
    cell = pixel[:, None] / config.img_patch_size
    if config.local_feature == "inverse_distance":
        return sample_inverse_distance(cell, tokens.float())[:, 0]
    last = tokens.shape[-1] - 1
    where = cell.clamp(0, last) / last * 2 - 1
    sampled = F.grid_sample(tokens.float(), where[:, None], align_corners=True)
    return sampled[:, :, 0, 0]
