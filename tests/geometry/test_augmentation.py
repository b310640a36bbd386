"""Rigid augmentation and colour jitter."""

from __future__ import annotations

import sys

import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.core.torchvision_cpu import ensure_torchvision_importable
from sam2act.geometry.augmentation import AugmentationNoise, apply_se3
from sam2act.geometry.rotations import geodesic_angle
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.processing.color_jitter import jitter_colors

BOUNDS = SceneBounds.from_sequence((-0.3, -0.5, 0.6, 0.7, 0.5, 1.6))
RANGES = ((0.125,) * 3, (10.0, 20.0, 45.0))


def sample_batch(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(batch, 20, 3, generator=generator) + torch.tensor([-0.3, -0.5, 0.6])
    quaternion = torch.randn(batch, 4, generator=generator)
    quaternion = quaternion / quaternion.norm(dim=1, keepdim=True)
    return points, torch.cat([points[:, 0], quaternion], dim=1)


def draws(batch: int, seed: int = 1) -> AugmentationNoise:
    return AugmentationNoise.sample(batch, torch.Generator().manual_seed(seed))


def test_draws_are_reproducible_and_in_published_order() -> None:
    drawn = draws(4)
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(drawn.translation, 2 * torch.rand(4, 3, generator=generator) - 1)
    for axis in range(3):
        expected = 2 * torch.rand(4, 1, generator=generator) - 1
        assert torch.equal(drawn.rotation[:, axis : axis + 1], expected)


def test_motion_is_rigid_and_carries_the_target_along() -> None:
    points, pose = sample_batch(5)
    moved, moved_pose = apply_se3(points, pose, draws(5), BOUNDS, *RANGES)
    torch.testing.assert_close(torch.cdist(moved, moved), torch.cdist(points, points))
    torch.testing.assert_close(moved[:, 0], moved_pose[:, :3])  # point 0 is the target
    assert (moved_pose[:, 6] >= 0).all()
    assert (geodesic_angle(moved_pose[:, 3:], pose[:, 3:]) > 0.5).any()


def test_zero_ranges_change_nothing() -> None:
    points, pose = sample_batch(3)
    moved, moved_pose = apply_se3(points, pose, draws(3), BOUNDS, (0, 0, 0), (0, 0, 0))
    torch.testing.assert_close(moved, points)
    torch.testing.assert_close(moved_pose[:, :3], pose[:, :3])
    assert geodesic_angle(moved_pose[:, 3:], pose[:, 3:]).max() < 1e-3


def test_target_stays_in_bounds() -> None:
    points, pose = sample_batch(6)
    pose[:, :3] = torch.tensor([0.69, -0.49, 1.59])
    pose[0, :3] = torch.tensor([2.0, -2.0, 0.0])  # outside from the start
    _, moved_pose = apply_se3(points, pose, draws(6), BOUNDS, (0.5,) * 3, (0, 0, 45))
    assert BOUNDS.contains(moved_pose[:, :3]).all()


def test_shared_draws_repeat_the_first_row_of_each_window() -> None:
    drawn = draws(6)
    shared = drawn.shared_within(3)
    assert torch.equal(shared.translation, drawn.translation[[0, 0, 0, 3, 3, 3]])
    assert torch.equal(shared.rotation, drawn.rotation[[0, 0, 0, 3, 3, 3]])
    with pytest.raises(ValueError, match="6 frames is no whole number of windows of 4"):
        drawn.shared_within(4)


def test_rigid_window_moves_all_its_frames_alike() -> None:
    points, pose = sample_batch(6)
    scene = points[:1].expand(6, -1, -1)  # one static scene seen in six frames
    moved, moved_pose = apply_se3(scene, pose, draws(6), BOUNDS, *RANGES, rigid_window=3)
    for start in (0, 3):
        window = slice(start, start + 3)
        assert torch.equal(moved[window], moved[start : start + 1].expand(3, -1, -1))
        torch.testing.assert_close(
            torch.cdist(moved_pose[window, :3], moved[start]),
            torch.cdist(pose[window, :3], scene[start]),
        )
    assert (moved[0] - moved[3]).abs().max() > 1e-3
    single = apply_se3(points, pose, draws(6), BOUNDS, *RANGES)
    shared = apply_se3(points, pose, draws(6).shared_within(3), BOUNDS, *RANGES)
    assert torch.equal(single[0][0], shared[0][0]) and not torch.equal(single[0][1], shared[0][1])
    with pytest.raises(ValueError, match="windows of 4"):
        apply_se3(points, pose, draws(6), BOUNDS, *RANGES, rigid_window=4)


def test_ambient_autocast_does_not_change_the_result() -> None:
    points, pose = sample_batch(2)
    plain = apply_se3(points, pose, draws(2), BOUNDS, *RANGES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = apply_se3(points, pose, draws(2), BOUNDS, *RANGES)
    assert torch.equal(plain[0], cast[0]) and torch.equal(plain[1], cast[1])


def test_colour_jitter_without_torchvision_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.transforms", None)
    rgb = torch.zeros(1, 1, 2, 2, 3, dtype=torch.uint8)
    assert jitter_colors(rgb, 0.0, torch.zeros(len(rgb), 4)) is rgb
    with pytest.raises(ConfigError, match="peract.color_jitter"):
        jitter_colors(rgb, 0.3, torch.zeros(len(rgb), 4))


def test_colour_jitter_is_reproducible_and_alike_for_all_cameras() -> None:
    if not ensure_torchvision_importable():
        pytest.skip("torchvision is not installed")
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 1, 8, 8, 3), generator=generator, dtype=torch.uint8)
    rgb = image.expand(2, 3, 8, 8, 3)
    factors = 2 * torch.rand(2, 4, generator=generator) - 1
    first = jitter_colors(rgb, 0.4, factors)
    again = jitter_colors(rgb, 0.4, factors)
    assert first.dtype == torch.uint8 and first.shape == rgb.shape
    assert torch.equal(first, again) and not torch.equal(first, rgb)
    assert torch.equal(first[:, 0], first[:, 1])
