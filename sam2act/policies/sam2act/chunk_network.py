"""The two-stage network whose fine branch conditions a diffusion head of actions.

Legend: B batch, V view, C token width, F = 2 * V * C numbers of the branch's feature.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sam2act.geometry.rotations import matrix_from_quaternion_xyzw
from sam2act.nn.diffusion.dit import DiT
from sam2act.nn.linear import Linear
from sam2act.policies.multiview.branch import BranchOutput
from sam2act.policies.multiview.heads import waypoint_features
from sam2act.policies.multiview.two_stage import TwoStageNetwork, TwoStageOutput
from sam2act.policies.sam2act.config import NetworkConfig

_STATE_NUMBERS = 13  # waypoint seen from the hand twice, two axes of the hand, opening
_NEAR = 0.1  # distance in the zoomed cube below which the second form of the place is sharp


class Hand(NamedTuple):
    """The gripper, as the condition tells it."""

    position: Tensor  # (B, 3) in the unit cube
    quaternion: Tensor  # (B, 4) xyzw
    opening: Tensor  # (B, 1), 1 = open


class StateEmbedding(nn.Module):
    """Where the waypoint lies, seen from the hand, and how the hand is held."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Linear(_STATE_NUMBERS, 2 * width), nn.SiLU(), Linear(2 * width, width)
        )

    def forward(self, place: Tensor, hand: Hand) -> Tensor:
        """The place (B, 3) of the waypoint minus that of the hand, zoomed -> (B, width)."""
        distance = place.norm(dim=1, keepdim=True)
        axes = matrix_from_quaternion_xyzw(hand.quaternion)[:, :, :2].mT.flatten(1)
        numbers = [place, place / (distance + _NEAR), axes.to(place), hand.opening]
        out: Tensor = self.layers(torch.cat(numbers, dim=1))
        return out


class ChunkNetwork(TwoStageNetwork):
    """Heat maps of both branches as ever; the fine branch's feature goes to a diffusion head."""

    config: NetworkConfig
    predicts_bins: ClassVar[bool] = False

    def __init__(self, config: NetworkConfig, *, pretrained: bool = False) -> None:
        """As `TwoStageNetwork`, with a fresh head."""
        super().__init__(config, pretrained=pretrained)
        chunk = config.chunk
        self.state = StateEmbedding(chunk.state_width) if chunk.sees_state else None
        self.action_model = DiT(chunk)

    def parts(self) -> dict[str, nn.Module]:
        """Those of two stages, and the head."""
        return super().parts() | {"action head": self.action_model}

    def read(
        self, tokens: Tensor, heatmaps: Tensor, waypoint_px: Tensor, teacher_bins: Tensor | None
    ) -> BranchOutput:
        """The fine branch's feature (B, F) at a waypoint: the maximum of all tokens and those at
        the waypoint, of every view."""
        feature = waypoint_features(tokens, waypoint_px, self.config)
        return BranchOutput(heatmaps, None, feature=feature)

    def condition(self, output: TwoStageOutput, waypoint: Tensor, hand: Hand) -> Tensor:
        """What the head is told.

        Args:
            output: of a forward pass.
            waypoint: (B, 3) in the unit cube, where the hand is to go.
            hand: of the B samples.

        Returns:
            (B, 1, F), with `chunk.sees_state` wider by `chunk.state_width`.
        """
        assert output.fine.feature is not None
        parts = [output.fine.feature.float()]
        if self.state is not None:
            parts.append(self.state(self.config.st_sca * (waypoint - hand.position), hand))
        return torch.cat(parts, dim=1)[:, None]
