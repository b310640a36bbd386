"""Typed data at the borders of the policy: what goes in, what comes out.

Legend: B batch, K camera, H W camera image size, L language tokens, D token width.
Quaternions are (x, y, z, w). Poses are world frame: metres, then quaternion.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sam2act.geometry.cameras import decode_depth


class SampleIdentity(NamedTuple):
    """Where a training sample comes from; named in error messages."""

    task: str
    episode: int
    frame: int  # observed frame
    target_frame: int  # keyframe to reach


@dataclass(frozen=True)
class Observation:
    """What the cameras and the robot report, batched over environments or samples."""

    rgb: Tensor  # (B, K, H, W, 3) uint8
    depth: Tensor  # (B, K, H, W) metres, float64 or float32
    intrinsics: Tensor  # (B, K, 3, 3) float64
    extrinsics: Tensor  # (B, K, 4, 4) float64, T_world_from_camera
    proprioception: Tensor  # (B, 4) float32: gripper open, two finger joints, time feature

    def to(self, device: torch.device | str) -> Observation:
        """The same observation on `device`."""
        return move_tensors(self, device)


@dataclass(frozen=True)
class Batch:
    """Training samples as the data loader yields them; images still in their stored form."""

    rgb: Tensor  # (B, K, H, W, 3) uint8
    depth_code: Tensor  # (B, K, H, W, 3) uint8, 24-bit fixed point, high byte first
    depth_range: Tensor  # (B, K, 2) float64: near, far in metres
    intrinsics: Tensor  # (B, K, 3, 3) float64
    extrinsics: Tensor  # (B, K, 4, 4) float64, T_world_from_camera
    proprioception: Tensor  # (B, 4) float32
    instruction: Tensor  # (B,) int64, row of the data set's list of instructions
    target_pose: Tensor  # (B, 7) float32
    gripper_open: Tensor  # (B,) int64, 1 = open
    ignore_collisions: Tensor  # (B,) int64, 1 = ignore
    identities: tuple[SampleIdentity, ...]

    def __len__(self) -> int:
        return len(self.rgb)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device` (asynchronous from pinned memory)."""
        return move_tensors(self, device)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by the data loader)."""
        return _map_tensors(self, Tensor.pin_memory)

    def observation(self) -> Observation:
        """The observation with decoded depth."""
        return Observation(
            rgb=self.rgb,
            depth=decode_depth(self.depth_code, self.depth_range[..., 0], self.depth_range[..., 1]),
            intrinsics=self.intrinsics,
            extrinsics=self.extrinsics,
            proprioception=self.proprioception,
        )


@dataclass(frozen=True)
class ActionChunk:
    """A sequence of H actions per environment; H = 1 for keyframe policies."""

    values: (
        Tensor  # (B, H, A); keyframe_pose: position 3, quaternion 4, open 1, ignore collisions 1
    )
    valid: Tensor  # (B, H) bool
    space: str = "keyframe_pose"


@dataclass(frozen=True)
class LossOutput:
    """The loss to differentiate and its named terms (detached scalars)."""

    total: Tensor
    terms: dict[str, Tensor]


def _map_tensors(data, function):
    changed = {
        item.name: function(value)
        for item in dataclasses.fields(data)
        if isinstance(value := getattr(data, item.name), Tensor)
    }
    return dataclasses.replace(data, **changed)


def move_tensors(data, device: torch.device | str):
    """A copy of dataclass `data` with every tensor on `device`."""
    return _map_tensors(data, lambda tensor: tensor.to(device, non_blocking=True))
