"""Camera images to a cloud in the cube: order, colours, crop, frames, subsets."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sam2act.core.types import Observation
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.multiview.preprocessing import WorldCloud, place_in_cube, world_cloud

BOUNDS = SceneBounds((-0.3, -0.5, 0.6), (0.7, 0.5, 1.4))  # the longest edges are 1 m
CENTER, SCALE = torch.tensor([0.2, 0.0, 1.0]), 2.0


def observation(batch: int = 2, cameras: int = 2, side: int = 4) -> Observation:
    """Cameras that look down from 2 m; the second one is 0.1 m further along x."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, cameras, side, side)
    intrinsics = torch.tensor([[8.0, 0.0, 2.0], [0.0, 8.0, 2.0], [0.0, 0.0, 1.0]])
    extrinsics = torch.eye(4).repeat(batch, cameras, 1, 1)
    extrinsics[..., 1, 1] = extrinsics[..., 2, 2] = -1
    extrinsics[..., :3, 3] = torch.tensor([0.2, 0.0, 2.0])
    extrinsics[:, :, 0, 3] += 0.1 * torch.arange(cameras)
    return Observation(
        rgb=torch.randint(256, (*shape, 3), dtype=torch.uint8, generator=generator),
        depth=0.8 + 0.4 * torch.rand(shape, dtype=torch.float64, generator=generator),
        intrinsics=intrinsics.double().expand(batch, cameras, 3, 3),
        extrinsics=extrinsics.double(),
        proprioception=torch.zeros(batch, 4),
    )


def random_cloud(batch: int = 2, count: int = 500) -> WorldCloud:
    """About half of the points are inside the bounds."""
    generator = torch.Generator().manual_seed(1)
    offset = torch.rand(batch, count, 3, generator=generator) - 0.5
    return WorldCloud(CENTER + 1.3 * offset, torch.rand(batch, count, 3, generator=generator))


def place(cloud: WorldCloud, **changes):
    return place_in_cube(cloud, BOUNDS, **{"crop": True, "center_on_cloud": False, **changes})


def test_points_come_in_the_order_camera_row_column() -> None:
    seen = observation()
    cloud = world_cloud(seen)
    assert cloud.points.shape == cloud.rgb.shape == (2, 2 * 4 * 4, 3)
    sample, camera, row, column = 1, 1, 3, 0
    depth = float(seen.depth[sample, camera, row, column])
    expected = [0.3 + (column - 2) / 8 * depth, -(row - 2) / 8 * depth, 2.0 - depth]
    index = (camera * 4 + row) * 4 + column
    assert cloud.points[sample, index].tolist() == pytest.approx(expected, abs=1e-6)
    color = seen.rgb[sample, camera, row, column] / 255
    torch.testing.assert_close(cloud.rgb[sample, index], color, atol=1e-6, rtol=0)


def test_pixels_without_measurement_are_no_points() -> None:
    seen = observation()
    depth = seen.depth.clone()
    depth[1, 1, 2:] = 0
    cloud = world_cloud(dataclasses.replace(seen, depth=depth))
    lost = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    lost[1, 1, 2:] = True
    assert torch.equal(cloud.points.isnan().all(-1), lost.flatten(1))
    for crop in (False, True):
        assert not place(cloud, crop=crop)[0].valid[lost.flatten(1)].any()


def test_colors_span_zero_to_one() -> None:
    rgb = world_cloud(observation()).rgb
    assert rgb.dtype == torch.float32 and rgb.min() >= 0 and rgb.max() <= 1


def test_crop_marks_points_and_removes_none() -> None:
    cloud = random_cloud()
    placed, frame = place(cloud)
    inside = (placed.points.abs() <= torch.tensor([1.0, 1.0, 0.8]) + 1e-6).all(-1)
    assert 0.2 < placed.valid.float().mean() < 0.8
    assert torch.equal(placed.valid, inside)
    torch.testing.assert_close(placed.points, (cloud.points - CENTER) * SCALE)
    torch.testing.assert_close(frame.to_world(placed.points), cloud.points)
    assert torch.equal(placed.rgb, cloud.rgb)


def test_without_crop_only_non_finite_points_are_invalid() -> None:
    cloud = random_cloud()
    cloud.points[0, 3, 1] = float("nan")
    cloud.points[1, 7, 0] = float("inf")
    placed, _ = place(cloud, crop=False)
    assert (~placed.valid).nonzero().tolist() == [[0, 3], [1, 7]]
    assert not place(cloud)[0].valid[0, 3]


@pytest.mark.parametrize("crop", [False, True])
def test_place_with_mean_fits_the_cube_to_the_valid_points(crop: bool) -> None:
    cloud = random_cloud()
    placed, frame = place(cloud, crop=crop, center_on_cloud=True)
    for points, valid in zip(placed.points, placed.valid, strict=True):
        low, high = points[valid].amin(0), points[valid].amax(0)
        torch.testing.assert_close(low, -high, atol=1e-5, rtol=0)
        assert high.max() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(frame.to_world(placed.points), cloud.points, atol=1e-5, rtol=0)


def test_subset_keeps_valid_points_with_their_colors() -> None:
    cloud = random_cloud()
    whole, _ = place(cloud)
    placed, _ = place(cloud, subset=60, subset_seed=torch.tensor([3, 4]))
    assert placed.points.shape == (2, 60, 3) and placed.valid.all()
    for sample in range(2):
        index = [_index_of(point, whole.points[sample]) for point in placed.points[sample]]
        assert index == sorted(index)
        assert torch.equal(placed.rgb[sample], cloud.rgb[sample, index])


def test_frame_is_that_of_the_whole_cloud() -> None:
    cloud = random_cloud()
    _, whole = place(cloud, center_on_cloud=True)
    _, part = place(cloud, center_on_cloud=True, subset=20)
    assert torch.equal(whole.center, part.center) and torch.equal(whole.scale, part.scale)


def test_subset_of_a_sample_does_not_depend_on_the_batch() -> None:
    cloud = random_cloud(3)
    seeds = torch.tensor([9, 8, 7])
    together, _ = place(cloud, subset=50, subset_seed=seeds)
    one = WorldCloud(cloud.points[1:2], cloud.rgb[1:2])
    alone, _ = place(one, subset=50, subset_seed=seeds[1:2])
    assert torch.equal(alone.points[0], together.points[1])
    default, _ = place(one, subset=50)
    zero, _ = place(one, subset=50, subset_seed=torch.zeros(1, dtype=torch.int64))
    assert torch.equal(default.points, zero.points)


def test_cloud_outside_the_bounds_stays_invalid() -> None:
    far = WorldCloud(torch.full((1, 20, 3), 5.0), torch.zeros(1, 20, 3))
    for options in ({}, {"subset": 8}, {"center_on_cloud": True}):
        placed, frame = place(far, **options)
        assert not placed.valid.any() and frame.center.isfinite().all()


def _index_of(point: Tensor, points: Tensor) -> int:
    return int((points == point).all(-1).nonzero()[0, 0])
