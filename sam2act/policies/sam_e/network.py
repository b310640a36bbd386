"""The network of SAM-E: one pass over all views predicts the next H keyframes.

Legend: B batch, V view, S side of a rendered view, H keyframes of a sequence, K rotation bins per
axis. Positions are in the unit cube [-1, 1]^3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.nn.image_encoder import build_encoders
from sam2act.policies.multiview.heads import ActionLogits
from sam2act.policies.multiview.network import Cloud, Stage, TeacherForcing
from sam2act.policies.multiview.one_stage import OneStageNetwork, OneStageOutput
from sam2act.policies.multiview.one_stage_branch import action_logits
from sam2act.policies.sam_e.config import SamEConfig


@dataclass(frozen=True)
class SequenceOutput:
    """What was seen and predicted; as a keyframe output it is the first step."""

    images: Tensor  # (B, V, 10, S, S)
    heatmaps: Tensor  # (B, V, H, S, S) logits
    scores: Tensor  # (B, H, 3 K + 4)
    waypoints: Tensor  # (B, H, 3) predicted positions (the true ones in training)

    @property
    def waypoint(self) -> Tensor:
        """(B, 3) of the first step."""
        return self.waypoints[:, 0]

    @property
    def action(self) -> ActionLogits:
        """Scores of the first step."""
        return action_logits(self.scores[:, 0])

    def steps(self) -> list[OneStageOutput]:
        """Each step as the output of a network that predicts one keyframe."""
        return [
            OneStageOutput(
                self.images,
                self.heatmaps[:, :, step],
                action_logits(self.scores[:, step]),
                self.waypoints[:, step],
            )
            for step in range(self.scores.shape[1])
        ]


class SequenceNetwork(OneStageNetwork):
    """The one-stage network with an image encoder and H steps."""

    config: SamEConfig

    def __init__(self, config: SamEConfig, *, pretrained: bool = False) -> None:
        """Build with random weights.

        Args:
            config: sizes.
            pretrained: read the public weights of the image encoder.

        Raises:
            ConfigError: weights are absent or do not fit, or the renderer is not installed.
        """
        encoders = build_encoders(config, config.grid_size, pretrained=pretrained)[:1]
        super().__init__(config, encoders)

    def forward(  # type: ignore[override]  # a sequence, of which the first step is the output
        self,
        cloud: Cloud,
        proprio: Tensor,
        language: Tensor,
        teacher: TeacherForcing | None = None,
    ) -> SequenceOutput:
        """As `MultiviewNetwork.forward`; the teacher's waypoint is one per step, (B, H, 3)."""
        images = self.render(cloud, 0.0 if teacher is None else teacher.image_noise)
        heatmaps, scores = self.run_branch(images, proprio, language)
        if teacher is None:
            found = [self.peak(maps) for maps in heatmaps.unbind(2)]
            return SequenceOutput(images, heatmaps, scores, torch.stack(found, dim=1))
        return SequenceOutput(images, heatmaps, scores, teacher.waypoint)

    def stages(  # type: ignore[override]
        self, output: SequenceOutput, waypoint: Tensor
    ) -> list[Stage]:
        """The only one, of the first step."""
        return [Stage(output.images, output.heatmaps[:, :, 0], waypoint, output.waypoint)]
