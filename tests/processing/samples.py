"""Windows of frames and actions with random content."""

from __future__ import annotations

import torch

from sam2act.core.actions import ActionSpec, Component
from sam2act.core.specs import TIME, CameraSpec, PolicySpec
from sam2act.core.types import Observation, SampleIdentity, WindowBatch

SPEC = PolicySpec(
    camera_specs=(CameraSpec("left", 20, 20), CameraSpec("right", 20, 20)),
    language=None,
    state=(Component("position", 3, "m"), Component("quaternion", 4, "xyzw"), TIME),
    action=ActionSpec(
        "ee_pose",
        (
            Component("position", 3, "m"),
            Component("quaternion", 4, "xyzw"),
            Component("grip", 1, "1"),
        ),
        horizon=5,
        rate=20.0,
    ),
)


def windows(count: int = 6, side: int = 32, seed: int = 0, frames: int = 0) -> WindowBatch:
    """`count` windows; `frames` > 0 adds a time axis. Depth grows with the pixel's index."""
    random = torch.Generator().manual_seed(seed)
    lead = (count, frames) if frames else (count,)
    actions = torch.randn(count, 5, 8, generator=random)
    actions[..., :3] *= torch.tensor([0.1, 3.0, 0.5])
    actions[..., 7] = 1.0  # never changes
    actions[..., 3:7] = torch.nn.functional.normalize(actions[..., 3:7], dim=-1)
    intrinsics = torch.tensor([[-40.0, 0, side / 2], [0, -40.0, side / 2], [0, 0, 1]]).double()
    observed = Observation(
        rgb=torch.randint(256, (*lead, 2, side, side, 3), generator=random, dtype=torch.uint8),
        depth=torch.rand(*lead, 2, side, side, generator=random) + 0.5,
        intrinsics=intrinsics.expand(*lead, 2, 3, 3),
        extrinsics=torch.eye(4).double().expand(*lead, 2, 4, 4),
        proprioception=torch.randn(*lead, 8, generator=random) * 4 + 2,
        cameras=("left", "right"),
        mask=torch.arange(side * side).view(side, side).expand(*lead, 2, side, side),
    )
    valid = torch.ones(count, 5, dtype=torch.bool)
    valid[-1, 3:] = False
    actions[-1, 3:] = 1000.0  # padding, which counts nowhere
    return WindowBatch(
        instruction=torch.zeros(count, dtype=torch.int64),
        identities=tuple(SampleIdentity("task", i, 0, 1) for i in range(count)),
        observed=observed,
        action=actions,
        valid=valid,
    )
