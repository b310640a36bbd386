"""Noise in the shape of recorded samples, for benchmarks."""

from __future__ import annotations

import torch

from sam2act.core.types import KeyframeBatch, SampleIdentity
from sam2act.policies.checkpoint import PolicyBundle
from sam2act.policies.sam2act.policy import SAM2ActPolicy


def measured_policy(bundle: PolicyBundle) -> SAM2ActPolicy:
    """The policy of `bundle`, which is SAM2Act in every benchmark."""
    assert isinstance(bundle.policy, SAM2ActPolicy)
    return bundle.policy


def random_batch(
    bundle: PolicyBundle, count: int, side: int, device: str
) -> tuple[KeyframeBatch, torch.Tensor]:
    """Noise in the shape of recorded samples, seen by cameras above the workspace."""
    generator = torch.Generator().manual_seed(0)
    cameras = len(bundle.experiment.cameras)
    images = (count, cameras, side, side, 3)
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[0, 0] = intrinsics[1, 1] = side
    intrinsics[:2, 2] = side / 2
    extrinsics = torch.eye(4, dtype=torch.float64)
    extrinsics[:3, :3] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # looks straight down
    extrinsics[:3, 3] = torch.tensor([0.2, 0.0, 1.6])
    batch = KeyframeBatch(
        rgb=torch.randint(256, images, dtype=torch.uint8, generator=generator),
        depth_code=torch.randint(256, images, dtype=torch.uint8, generator=generator),
        depth_range=torch.tensor([0.01, 1.0], dtype=torch.float64).expand(count, cameras, 2),
        intrinsics=intrinsics.expand(count, cameras, 3, 3),
        extrinsics=extrinsics.expand(count, cameras, 4, 4),
        proprioception=torch.rand(count, 4, generator=generator),
        instruction=torch.zeros(count, dtype=torch.int64),
        target_pose=torch.tensor([[0.2, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]).repeat(count, 1),
        gripper_open=torch.ones(count, dtype=torch.int64),
        ignore_collisions=torch.zeros(count, dtype=torch.int64),
        identities=(SampleIdentity("noise", 0, 0, 0),) * count,
    )
    language = torch.randn(count, *bundle.policy.spec.language_shape, generator=generator)
    return batch.to(device), language.to(device)
