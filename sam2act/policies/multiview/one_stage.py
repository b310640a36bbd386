"""Networks without a zoom: one forward pass predicts position and action.

Legend: B batch, V view, S side of a rendered view, H steps of a sequence (1 for a single keyframe).
Positions are in the unit cube [-1, 1]^3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from sam2act.nn.image_encoder import ImageEncoder
from sam2act.policies.multiview.config import MultiviewConfig
from sam2act.policies.multiview.heads import ActionLogits
from sam2act.policies.multiview.network import Cloud, MultiviewNetwork, Stage, TeacherForcing
from sam2act.policies.multiview.one_stage_branch import (
    BranchMaps,
    OneStageBranch,
    OneStageBranchConfig,
    action_logits,
)


@dataclass(frozen=True)
class OneStageConfig(OneStageBranchConfig, MultiviewConfig):
    """The rendered views and the branch."""

    heatmap_half: bool = False  # the released code rounds heat maps of two-stage networks alone


@dataclass(frozen=True)
class OneStageOutput:
    """What was seen and predicted."""

    images: Tensor  # (B, V, 10, S, S)
    heatmaps: Tensor  # (B, V, S, S) logits
    action: ActionLogits
    waypoint: Tensor  # (B, 3) predicted position (the true one in training)


class OneStageNetwork(MultiviewNetwork):
    """Renders, encodes if there is an encoder, and predicts the next keyframe."""

    config: OneStageConfig

    def __init__(self, config: OneStageConfig, encoders: nn.ModuleList | None = None) -> None:
        """Build with random weights.

        Args:
            config: sizes.
            encoders: at most one image encoder.

        Raises:
            ConfigError: the renderer is not installed.
        """
        super().__init__(config)
        self.encoders = nn.ModuleList() if encoders is None else encoders
        self.branch = OneStageBranch(
            config,
            views=len(self.views),
            feature_channels=self.encoder.channels[-1] if self.encoder is not None else None,
        )

    @property
    def encoder(self) -> ImageEncoder | None:
        """The image encoder, where there is one."""
        return cast(ImageEncoder, self.encoders[0]) if len(self.encoders) else None

    def parts(self) -> dict[str, nn.Module]:
        """Image encoder, where there is one, and branch."""
        parts: dict[str, nn.Module] = {"branch": self.branch}
        return {"image encoder": self.encoders} | parts if len(self.encoders) else parts

    def costly_parts(self) -> list[nn.Module]:
        """Encoder, transformer, decoder."""
        return [*self.encoders, self.branch.transformer, self.branch.decoder]

    def forward(
        self,
        cloud: Cloud,
        proprio: Tensor,
        language: Tensor,
        teacher: TeacherForcing | None = None,
    ) -> OneStageOutput:
        """As `MultiviewNetwork.forward`; of the teacher it takes position and image noise."""
        images = self.render(cloud, 0.0 if teacher is None else teacher.image_noise)
        maps = self.run_branch(images, proprio, language)
        heatmaps = maps.heatmaps[:, :, 0]
        waypoint = self.peak(heatmaps) if teacher is None else teacher.waypoint
        return OneStageOutput(images, heatmaps, action_logits(maps.scores[:, 0]), waypoint)

    def run_branch(self, images: Tensor, proprio: Tensor, language: Tensor) -> BranchMaps:
        """Maps and scores of every step from rendered images (B, V, 10, S, S)."""
        features = None if self.encoder is None else self.encode(images, self.encoder).coarse
        maps: BranchMaps = self.branch(images, features, proprio, language)
        return maps

    def stages(self, output: OneStageOutput, waypoint: Tensor) -> list[Stage]:
        """The only one."""
        return [Stage(output.images, output.heatmaps, waypoint, output.waypoint)]
