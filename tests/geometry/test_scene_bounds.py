"""Scene bounds and the unit cube."""

from __future__ import annotations

import pytest
import torch

from sam2act.geometry.scene_bounds import SceneBounds, cube_frame_of_cloud

BOUNDS = SceneBounds.from_sequence((-0.3, -0.5, 0.6, 0.9, 0.5, 1.6))


def test_contains_is_inclusive_and_rejects_nan() -> None:
    lower, upper = BOUNDS.lower(torch.zeros(())), BOUNDS.upper(torch.zeros(()))
    outside = upper.clone()
    outside[1] = torch.nextafter(outside[1], torch.tensor(9.0))
    nan = torch.tensor([0.0, float("nan"), 1.0])
    points = torch.stack([lower, upper, (lower + upper) / 2, outside, nan])
    assert BOUNDS.contains(points[None]).tolist() == [[True, True, True, False, False]]


def test_bounds_must_be_ordered() -> None:
    with pytest.raises(ValueError, match="scene_bounds"):
        SceneBounds.from_sequence((0, 0, 0, 1, -1, 1))
    with pytest.raises(ValueError, match="scene_bounds"):
        SceneBounds.from_sequence((0, 0, 0, 1))


def test_cube_frame_of_bounds_centres_and_keeps_proportions() -> None:
    frame = BOUNDS.cube_frame(2, torch.zeros(()))
    corners = torch.stack([BOUNDS.lower(torch.zeros(())), BOUNDS.upper(torch.zeros(()))])
    cube = frame.to_cube(corners.expand(2, 2, 3))
    expected = torch.tensor([[-1, -1 / 1.2, -1 / 1.2], [1, 1 / 1.2, 1 / 1.2]])
    torch.testing.assert_close(cube[1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("with_mean", [False, True])
def test_cube_and_world_are_inverse(with_mean: bool) -> None:
    points = torch.rand(3, 50, 3, generator=torch.Generator().manual_seed(0))
    frame = cube_frame_of_cloud(points) if with_mean else BOUNDS.cube_frame(3, points)
    torch.testing.assert_close(frame.to_world(frame.to_cube(points)), points, rtol=0, atol=1e-6)
    single = points[:, 0]
    torch.testing.assert_close(frame.to_cube(single), frame.to_cube(points)[:, 0])
    torch.testing.assert_close(frame.to_world(single), frame.to_world(points)[:, 0])


def test_cloud_frame_ignores_invalid_points() -> None:
    points = torch.rand(2, 40, 3, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[:, 30:] = False
    spoiled = points.clone()
    spoiled[:, 30:] = float("nan")
    frame, reference = cube_frame_of_cloud(spoiled, valid), cube_frame_of_cloud(points[:, :30])
    assert torch.equal(frame.center, reference.center)
    assert torch.equal(frame.scale, reference.scale)
    cube = frame.to_cube(points[:, :30])
    torch.testing.assert_close(cube.abs().amax(dim=(1, 2)), torch.ones(2))


def test_empty_and_single_point_clouds_give_finite_frames() -> None:
    points = torch.full((2, 3, 3), 0.7)
    valid = torch.tensor([[False] * 3, [True] * 3])
    frame = cube_frame_of_cloud(points, valid)
    assert frame.center.tolist()[0] == [0, 0, 0] and frame.scale.tolist() == [1, 1]
    assert torch.isfinite(frame.to_cube(points)).all()
