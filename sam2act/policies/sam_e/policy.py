"""The policy SAM-E: five soft views, SAM's image encoder, the next H keyframes in one pass.

Legend: B batch, V view, S side of a rendered view, H keyframes of a sequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.specs import PolicySpec
from sam2act.core.types import ActionChunk, KeyframeBatch, KeyframeSequenceBatch
from sam2act.geometry.scene_bounds import CubeFrame
from sam2act.policies.base import AssumedConfigs
from sam2act.policies.multiview import stages
from sam2act.policies.multiview.losses import HEATMAP_TERM, excess_loss
from sam2act.policies.multiview.network import Cloud, TeacherForcing
from sam2act.policies.multiview.policy import MultiviewPolicy
from sam2act.policies.multiview.prediction import decoded
from sam2act.policies.multiview.samples import Targets
from sam2act.policies.multiview.settings import policy_spec
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.sam_e.config import SamEConfig
from sam2act.policies.sam_e.losses import (
    masked_mean,
    sequence_action_losses,
    sequence_cross_entropy,
)
from sam2act.policies.sam_e.network import SequenceNetwork, SequenceOutput
from sam2act.policies.sam_e.weight_adapter import ReleasedWeights, holds_encoder

PUBLISHED_SAMPLES = 40  # per update: 4 processes with 10 each


class SamEPolicy(MultiviewPolicy):
    """Learns and predicts sequences of keyframes; all of one are executed without looking."""

    network: SequenceNetwork
    Config = SamEConfig
    normalises_batches: ClassVar[bool] = False
    may_change: ClassVar[tuple[str, ...]] = (
        *(key for key in stages.MAY_CHANGE if key != "final_dim"),
        *("encoder_ckpt", "execute_horizon", "inp_pre_pro", "inp_pre_con", "fusion_up"),
    )

    # ------------------------------------------------------------------------------- building
    @classmethod
    def build_network(cls, config: SamEConfig, *, pretrained: bool) -> SequenceNetwork:
        """One stage with SAM's image encoder."""
        return SequenceNetwork(config, pretrained=pretrained)

    @classmethod
    def spec_of(cls, experiment: ExperimentConfig, config: SamEConfig) -> PolicySpec:
        """Sequences of keyframes out."""
        return sequence_spec(experiment, config)

    @classmethod
    def recognises(cls, state: Mapping[str, Tensor]) -> bool:
        """One branch, and SAM's image encoder with adapters."""
        return "mvt1.final.conv2d.weight" in state and holds_encoder(state)

    @classmethod
    def assumed_configs(cls, stage: int, state: Mapping[str, Tensor]) -> AssumedConfigs:
        """The published ones."""
        return AssumedConfigs("configs/sam_e.yaml", "configs/mvt/sam_e.yaml")

    @property
    def weight_adapter(self) -> ReleasedWeights:
        """The released names."""
        return ReleasedWeights(self)

    @property
    def published_samples(self) -> int:
        """Samples per update of the published training."""
        return PUBLISHED_SAMPLES

    # ------------------------------------------------------------------------------- training
    def teacher_forcing(self, targets: Targets, noise: TrainingNoise) -> TeacherForcing:
        """The ground truth of all steps."""
        first = super().teacher_forcing(targets.of_step(0), noise)
        return dataclasses.replace(first, waypoint=targets.waypoint)

    def terms(
        self, output: SequenceOutput, targets: Targets, batch: KeyframeBatch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Loss terms by name, means over the steps that the demos have; excess (B,) of the first.

        Steps beyond the end of a demo count nowhere.
        """
        batch = cast(KeyframeSequenceBatch, batch)
        steps = targets.waypoint.shape[:2]
        maps = self.heatmaps(targets.waypoint.flatten(0, 1)).unflatten(0, steps)
        cross_entropy = sequence_cross_entropy(output.heatmaps, maps)
        terms = {HEATMAP_TERM: masked_mean(cross_entropy, batch.valid)}
        if self.settings.action_losses:
            terms |= sequence_action_losses(output.scores, targets.bins, batch)
        return terms, excess_loss(cross_entropy[:, 0], maps[:, 0])

    # --------------------------------------------------------------------------------- acting
    def decode(self, output: SequenceOutput, frame: CubeFrame, cloud: Cloud) -> ActionChunk:
        """Actions (B, H, 9) in the world frame."""
        steps = [decoded(step, frame, cloud, self.settings) for step in output.steps()]
        return ActionChunk(
            torch.cat([step.values for step in steps], dim=1),
            torch.cat([step.valid for step in steps], dim=1),
        )


def sequence_spec(experiment: ExperimentConfig, config: SamEConfig) -> PolicySpec:
    """What the policy wants and gives: `ah` keyframes, of which it executes `execute_horizon`."""
    spec = policy_spec(experiment, config)
    action = dataclasses.replace(spec.action, horizon=config.ah)
    return dataclasses.replace(spec, action=action, executor=f"open_loop(k={config.executed})")
