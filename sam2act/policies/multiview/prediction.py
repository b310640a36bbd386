"""What a forward pass of the network means in the world.

Legend: B batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sam2act.core.types import ActionChunk
from sam2act.geometry.rotations import quaternion_from_bins
from sam2act.geometry.scene_bounds import CubeFrame
from sam2act.policies.multiview.network import Cloud, KeyframeOutput
from sam2act.policies.multiview.settings import PolicySettings


@dataclass(frozen=True)
class Prediction:
    """Everything a forward pass without ground truth gives; `act` keeps the action only."""

    action: ActionChunk
    output: KeyframeOutput
    frame: CubeFrame


def decoded(
    output: KeyframeOutput, frame: CubeFrame, cloud: Cloud, settings: PolicySettings
) -> ActionChunk:
    """Actions in the world frame; not valid where `cloud` has no point to act on."""
    action = output.action
    position = frame.to_world(output.waypoint)
    quaternion = quaternion_from_bins(action.rotation.argmax(-1), settings.bins)
    gripper, ignore = (
        scores.argmax(-1, keepdim=True).to(position)
        for scores in (action.gripper, action.collision)
    )
    if settings.force_ignore_collisions is not None:
        ignore = torch.full_like(ignore, float(settings.force_ignore_collisions))
    values = torch.cat([position, quaternion.to(position), gripper, ignore], dim=1)
    return ActionChunk(values[:, None], cloud.valid.any(dim=1, keepdim=True))
