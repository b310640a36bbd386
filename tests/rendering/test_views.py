"""Projection: closed forms, look-at geometry and half-precision roundings."""

from __future__ import annotations

import pytest
import torch

from sam2act.rendering.views import (
    FIVE_VIEWS,
    THREE_VIEWS,
    VIEWS,
    project,
    project_half,
    select_views,
    view_depth,
)

CAMERAS = {  # eye and up vector; all look at the origin
    "top": ((0, 0, 1), (0, 1, 0)),
    "front": ((1, 0, 0), (0, 0, 1)),
    "right": ((0, 0.5, 0), (0, 0, 1)),
    "back": ((-1, 0, 0), (0, 0, 1)),
    "left": ((0, -1, 0), (0, 0, 1)),
    "down": ((0, 0, -1), (0, 1, 0)),
}


def random_points(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", CAMERAS)
def test_views_equal_look_at_cameras(name: str) -> None:
    eye, up = (torch.tensor(vector, dtype=torch.float64) for vector in CAMERAS[name])
    forward = -eye / eye.norm()
    right = torch.linalg.cross(forward, up)
    down = -torch.linalg.cross(right, forward)
    points = random_points(50)
    offset = points.double() - eye
    u, v = 112 * (offset @ right) + 112, 112 * (offset @ down) + 112
    pixels = project(points, [VIEWS[name]], 224)
    torch.testing.assert_close(
        pixels[:, 0].double(), torch.stack([u, v], dim=-1), rtol=0, atol=2e-5
    )
    depth = view_depth(points, [VIEWS[name]])
    torch.testing.assert_close(depth[:, 0].double(), offset @ forward, rtol=0, atol=1e-6)


def test_projection_rounds_twice() -> None:
    points = random_points(4, 1000)
    pixels = project(points, THREE_VIEWS, 224)
    product = (points.double() * 112).float()
    expected = (product.double() + 112).float()
    assert torch.equal(pixels[..., 0, 0], expected[..., 0])
    assert torch.equal(pixels[..., 2, 0], (112 - product.double()).float()[..., 0])


def test_cube_faces_are_image_borders() -> None:
    corners = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    pixels = project(corners, FIVE_VIEWS, 64)
    assert set(pixels.flatten().tolist()) == {0.0, 64.0}


@pytest.mark.parametrize("projection", [project, project_half])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_leak_into_projection(projection, dtype: torch.dtype) -> None:
    points = random_points(100)
    plain = projection(points, THREE_VIEWS, 224)
    with torch.autocast("cpu", dtype=dtype):
        cast = projection(points, THREE_VIEWS, 224)
    assert cast.dtype == torch.float32 and torch.equal(plain, cast)


def test_half_projection_is_representable_and_near() -> None:
    points = random_points(1000)
    half = project_half(points, THREE_VIEWS, 224)
    assert torch.equal(half, half.half().float())
    error = (half - project(points, THREE_VIEWS, 224)).abs().max()
    assert 0.01 < error < 0.13


def test_view_selection() -> None:
    assert [view.name for view in select_views(True)] == ["top", "front", "right"]
    assert [view.name for view in select_views(False)] == ["top", "front", "back", "left", "right"]
