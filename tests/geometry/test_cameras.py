"""Depth coding and unprojection against the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sam2act.geometry.cameras import (
    DEPTH_STEPS,
    decode_depth,
    encode_depth,
    measured_depth,
    unproject,
)


def random_cameras(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Intrinsics with a negative focal length, as the simulator has them, and random poses."""
    generator = np.random.default_rng(seed)
    intrinsics = np.tile(np.array([[-175.8, 0, 64.0], [0, -175.8, 64.0], [0, 0, 1]]), (count, 1, 1))
    extrinsics = np.tile(np.eye(4), (count, 1, 1))
    extrinsics[:, :3, :3] = Rotation.random(count, random_state=seed).as_matrix()
    extrinsics[:, :3, 3] = generator.normal(size=(count, 3))
    return torch.from_numpy(intrinsics), torch.from_numpy(extrinsics)


def test_depth_codes_survive_a_round_trip() -> None:
    generator = torch.Generator().manual_seed(0)
    code = torch.randint(0, 256, (2, 3, 5, 7, 3), generator=generator, dtype=torch.uint8)
    depth01 = decode_depth(code, torch.zeros(2, 3), torch.ones(2, 3))
    assert torch.equal(encode_depth(depth01), code)


def test_depth_is_linear_between_the_planes() -> None:
    code = torch.tensor([[0, 0, 0], [255, 255, 255], [128, 0, 0]], dtype=torch.uint8)
    near, far = torch.tensor([0.1, 0.5]), torch.tensor([3.0, 4.5])
    depth = decode_depth(code[None, None].expand(2, 1, 3, 3), near, far)
    assert depth.dtype == torch.float64 and depth.shape == (2, 1, 3)
    middle = near.double() + 128 * 65536 / DEPTH_STEPS * (far.double() - near.double())
    expected = torch.stack([near.double(), far.double(), middle], dim=-1)
    torch.testing.assert_close(depth[:, 0], expected, rtol=0, atol=1e-15)


def test_code_zero_means_that_nothing_was_measured() -> None:
    code = torch.tensor([[[0, 0, 0], [0, 0, 1], [9, 9, 9]]], dtype=torch.uint8)
    near, far = torch.tensor(0.01), torch.tensor(4.5)
    depth = measured_depth(code, near, far)
    assert depth[0, 0] == 0 and torch.equal(depth[0, 1:], decode_depth(code, near, far)[0, 1:])
    points = unproject(depth[None], *(m[:1] for m in random_cameras(1, 0)))
    assert points.isnan().all(-1).tolist() == [[[True, False, False]]]


def test_encoding_saturates() -> None:
    depth01 = torch.tensor([-0.5, 0.0, 1.0, 1.5])
    expected = torch.tensor([[0] * 3, [0] * 3, [255] * 3, [255] * 3], dtype=torch.uint8)
    assert torch.equal(encode_depth(depth01), expected)


@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_unprojected_points_project_back_to_their_pixels(shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    intrinsics, extrinsics = (m.reshape(*shape, *m.shape[1:]) for m in random_cameras(count, 1))
    height, width = 4, 6
    depth = 0.3 + torch.rand(*shape, height, width, generator=torch.Generator().manual_seed(2))
    world = unproject(depth, intrinsics, extrinsics)
    assert world.dtype == torch.float32 and world.shape == (*shape, height, width, 3)
    rotation, origin = extrinsics[..., :3, :3], extrinsics[..., :3, 3]
    camera = (world.double() - origin[..., None, None, :]) @ rotation[..., None, :, :]
    pixel = camera @ intrinsics.mT[..., None, :, :]
    torch.testing.assert_close(pixel[..., 2], depth.double(), rtol=0, atol=1e-6)
    columns = torch.arange(width, dtype=torch.float64).expand(*shape, height, width)
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(*shape, height, width)
    torch.testing.assert_close(pixel[..., 0] / pixel[..., 2], columns, rtol=0, atol=1e-3)
    torch.testing.assert_close(pixel[..., 1] / pixel[..., 2], rows, rtol=0, atol=1e-3)


def test_unprojection_equals_the_homogeneous_inverse() -> None:
    intrinsics, extrinsics = random_cameras(1, 3)
    depth = torch.full((1, 2, 3), 1.7, dtype=torch.float64)
    world = unproject(depth, intrinsics, extrinsics)
    rotation, origin = extrinsics[0, :3, :3].numpy(), extrinsics[0, :3, 3].numpy()
    projection = np.eye(4)
    projection[:3] = intrinsics[0].numpy() @ np.c_[rotation.T, -rotation.T @ origin]
    expected = np.linalg.inv(projection) @ np.array([2 * 1.7, 1 * 1.7, 1.7, 1.0])
    np.testing.assert_allclose(world[0, 1, 2], expected[:3], rtol=0, atol=1e-6)


def test_singular_intrinsics_do_not_raise() -> None:
    world = unproject(torch.ones(1, 1, 1), torch.zeros(1, 3, 3), torch.eye(4)[None])
    assert not torch.isfinite(world).all()
