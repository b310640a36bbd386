"""What the cache of frozen features asks for, and what it gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2act.core.types import KeyframeBatch, SampleIdentity
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.policies.sam2act.feature_cache import FeatureCache

WINDOW = 2


def batch_of(*frames: int) -> KeyframeBatch:
    """Samples whose target position tells their frame; all else is nothing."""
    count = len(frames)
    poses = torch.zeros(count, 7)
    poses[:, 0] = torch.tensor(frames)
    nothing = torch.zeros(count, 1)
    flags = torch.zeros(count, dtype=torch.int64)
    return KeyframeBatch(
        instruction=flags,
        identities=tuple(SampleIdentity("task", 0, frame, frame + 1) for frame in frames),
        rgb=nothing,
        depth_code=nothing,
        depth_range=nothing,
        intrinsics=nothing,
        extrinsics=nothing,
        proprioception=nothing,
        target_pose=poses,
        gripper_open=flags,
        ignore_collisions=flags,
    )


def test_only_windows_with_something_new_are_computed() -> None:
    asked = []

    def features(batch: KeyframeBatch, language: Tensor) -> tuple[Tensor, FeaturePyramid, Tensor]:
        frames = batch.target_pose[:, :1]
        asked.append([int(frame) for frame in frames])
        assert torch.equal(language, frames)
        maps = frames[:, :, None, None].repeat_interleave(3, dim=0)  # three views
        return maps, FeaturePyramid(maps + 1, maps + 2, maps + 3), frames

    cache = FeatureCache(nn.Identity(), WINDOW)
    for frames in ((0, 1, 2, 3), (2, 3, 4, 5), (1, 2, 4, 5), (0, 6)):
        batch = batch_of(*frames)
        tokens, pyramid, waypoint = cache.get(features, batch, batch.target_pose[:, :1])
        expected = [frame for frame in frames for _ in range(3)]
        assert tokens.flatten().tolist() == expected
        for offset, level in enumerate(pyramid, start=1):
            assert level.flatten().tolist() == [frame + offset for frame in expected]
        assert waypoint[:, 0].tolist() == list(frames)
    assert asked == [[0, 1], [2, 3], [4, 5], [0, 6]]
