"""Random valid inputs of the network."""

from __future__ import annotations

import torch

from sam2act.policies.multiview.network import Cloud, TeacherForcing
from sam2act.policies.sam2act.config import NetworkConfig


def random_cloud(batch: int, count: int, generator: torch.Generator) -> Cloud:
    """Points in the cube, a tenth of them invalid."""
    points = 2 * torch.rand(batch, count, 3, generator=generator) - 1
    rgb = torch.rand(batch, count, 3, generator=generator)
    return Cloud(points, rgb, torch.rand(batch, count, generator=generator) > 0.1)


def random_teacher(config: NetworkConfig, batch: int, seed: int = 2) -> TeacherForcing:
    """Ground truth inside the cube."""
    generator = torch.Generator().manual_seed(seed)
    return TeacherForcing(
        waypoint=torch.rand(batch, 3, generator=generator) - 0.5,
        zoom_noise=2 * torch.rand(batch, 3, generator=generator) - 1,
        teacher_bins=torch.randint(config.num_rot, (batch, 2), generator=generator),
    )
