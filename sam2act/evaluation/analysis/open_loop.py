"""Prediction errors of a policy on recorded keyframe transitions (no simulator)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.core.types import KeyframeBatch, SampleIdentity
from sam2act.geometry.rotations import geodesic_angle

CENTIMETRES = 100.0


@dataclass(frozen=True)
class KeyframeDeviation:
    """How far one prediction is from the recorded keyframe."""

    identity: SampleIdentity
    translation_cm: float
    coarse_translation_cm: float  # of the coarse branch alone
    rotation_degrees: float
    gripper_correct: bool
    collision_correct: bool


@torch.no_grad()
def deviations(action: Tensor, coarse: Tensor, batch: KeyframeBatch) -> list[KeyframeDeviation]:
    """How far predictions for a batch are from its labels, one entry per transition.

    Args:
        action: (B, 9) predicted keyframes.
        coarse: (B, 3) positions of the coarse branch alone, metres, world frame.
        batch: B transitions.
    """
    target = batch.target_pose.to(action)
    columns = torch.stack(
        [
            CENTIMETRES * (action[:, :3] - target[:, :3]).norm(dim=1),
            CENTIMETRES * (coarse - target[:, :3]).norm(dim=1),
            geodesic_angle(action[:, 3:7], target[:, 3:]).to(action),
            (action[:, 7] == batch.gripper_open).to(action),
            (action[:, 8] == batch.ignore_collisions).to(action),
        ],
        dim=1,
    ).tolist()
    return [
        KeyframeDeviation(identity, final, coarse_only, angle, bool(gripper), bool(collision))
        for identity, (final, coarse_only, angle, gripper, collision) in zip(
            batch.identities, columns, strict=True
        )
    ]


@dataclass(frozen=True)
class ErrorSummary:
    """Medians and rates over several keyframes."""

    count: int
    median_translation_cm: float
    median_rotation_degrees: float
    gripper_rate: float
    collision_rate: float


def summarise(errors: Sequence[KeyframeDeviation]) -> ErrorSummary:
    """Medians of the errors and shares of correct binary decisions.

    Raises:
        ValueError: no errors to summarise.
    """
    if not errors:
        raise ValueError("no keyframes to summarise")
    return ErrorSummary(
        count=len(errors),
        median_translation_cm=statistics.median(e.translation_cm for e in errors),
        median_rotation_degrees=statistics.median(e.rotation_degrees for e in errors),
        gripper_rate=statistics.fmean(e.gripper_correct for e in errors),
        collision_rate=statistics.fmean(e.collision_correct for e in errors),
    )
