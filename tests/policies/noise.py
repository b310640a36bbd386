"""Samples in the form of recorded ones."""

from __future__ import annotations

import torch

from sam2act.config.load import load_experiment
from sam2act.core.types import KeyframeBatch, SampleIdentity
from sam2act.geometry.rotations import canonical_quaternion


def batch(count: int = 3, seed: int = 0, side: int = 16) -> KeyframeBatch:
    """Two cameras above the workspace that see noise, and targets of all rotations."""
    generator = torch.Generator().manual_seed(seed)
    images = (count, 2, side, side, 3)
    intrinsics = torch.tensor([[1.5 * side, 0, side / 2], [0, 1.5 * side, side / 2], [0, 0, 1]])
    extrinsics = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    extrinsics[:3, 3] = torch.tensor([0.2, 0.0, 2.0])  # metres, looks straight down
    lower, upper = torch.tensor(load_experiment("configs/tiny.yaml").scene_bounds).split(3)
    position = lower + (upper - lower) * (0.15 + 0.7 * torch.rand(count, 3, generator=generator))
    quaternion = torch.randn(count, 4, generator=generator)
    return KeyframeBatch(
        rgb=torch.randint(256, images, dtype=torch.uint8, generator=generator),
        depth_code=torch.randint(256, images, dtype=torch.uint8, generator=generator),
        depth_range=torch.tensor([0.5, 1.5], dtype=torch.float64).expand(count, 2, 2),
        intrinsics=intrinsics.double().expand(count, 2, 3, 3),
        extrinsics=extrinsics.double().expand(count, 2, 4, 4),
        proprioception=torch.rand(count, 4, generator=generator),
        instruction=torch.zeros(count, dtype=torch.int64),
        target_pose=torch.cat([position, canonical_quaternion(quaternion)], dim=1),
        gripper_open=torch.arange(count) % 2,
        ignore_collisions=(torch.arange(count) // 2) % 2,
        identities=tuple(SampleIdentity("noise", i, 0, 1) for i in range(count)),
    )
