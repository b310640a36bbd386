"""The comparison renderer, on a stand-in for the one PyTorch3D function that it calls."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.rendering import backends
from sam2act.rendering.renderer import render
from sam2act.rendering.views import FIVE_VIEWS, SOFT_VIEWS, THREE_VIEWS, project

PICTURE = {"views": FIVE_VIEWS, "size": 24, "radius": 0.1}


class Pointclouds:
    """Points (n_i, 3) of several clouds."""

    def __init__(self, points: list[Tensor]) -> None:
        self.points = points


def rasterize_points(
    pointclouds: Pointclouds, image_size: int, radius: float, points_per_pixel: int
) -> tuple[Tensor, Tensor, Tensor]:
    """As documented: packed indices, depths and squared distances of the nearest points."""
    centers = 1 - (2 * torch.arange(image_size) + 1) / image_size
    results, first = [], 0
    for cloud in pointclouds.points:
        across = centers[None, :, None] - cloud[:, 0]
        down = centers[:, None, None] - cloud[:, 1]
        distance = (across**2 + down**2).expand(image_size, image_size, -1)
        hit = (distance < radius**2) & (cloud[:, 2] >= 0)
        depth = cloud[:, 2].expand_as(distance).masked_fill(~hit, torch.inf)
        empty = torch.full((image_size, image_size, points_per_pixel), torch.inf)
        depth, order = torch.cat([depth, empty], dim=-1).sort(dim=-1)
        depth, order = depth[..., :points_per_pixel], order[..., :points_per_pixel]
        none = depth.isinf()
        distance = torch.cat([distance, empty], dim=-1).gather(-1, order)
        results.append(
            (
                (order + first).masked_fill(none, -1),
                depth.masked_fill(none, -1),
                distance.masked_fill(none, -1),
            )
        )
        first += len(cloud)
    index, depth, distance = (torch.stack(parts) for parts in zip(*results, strict=True))
    return index, depth, distance


@pytest.fixture
def pytorch3d(monkeypatch: pytest.MonkeyPatch):
    """A package with the two names that are used."""
    names = ("pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.points")
    modules = {name: ModuleType(name) for name in names}
    modules["pytorch3d.structures"] = ModuleType("pytorch3d.structures")
    modules["pytorch3d.structures"].Pointclouds = Pointclouds  # type: ignore[attr-defined]
    drawing = ModuleType("pytorch3d.renderer.points.rasterize_points")
    drawing.rasterize_points = rasterize_points  # type: ignore[attr-defined]
    modules[drawing.__name__] = drawing
    for name, module in modules.items():
        module.__path__ = []  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    backends._examined.cache_clear()
    yield
    backends._examined.cache_clear()


def test_a_point_lies_where_the_hard_renderer_puts_it(pytorch3d) -> None:
    points = torch.tensor([[[0.31, -0.24, 0.13]]])
    rgb = torch.tensor([[[0.2, 0.5, 0.9]]])
    soft = render(points, rgb, backend="pytorch3d", center_depth=False, **PICTURE)[0]
    hard = render(points, rgb, backend="torch", center_depth=False, **PICTURE)[0]
    column, row = project(points[0, 0], FIVE_VIEWS, 24).long().unbind(-1)
    for view in range(5):
        at = (view, slice(None), int(row[view]), int(column[view]))
        torch.testing.assert_close(soft[at], hard[at], rtol=0, atol=2e-3)
    covered = (soft[:, 6] >= 0).sum(dim=(1, 2))
    assert (covered >= 2).all() and (covered <= 9).all()


def test_the_torch_path_draws_the_same(pytorch3d) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 300, 3, generator=generator) * 2.4 - 1.2
    rgb = torch.rand(2, 300, 3, generator=generator)
    expected = render(points, rgb, backend="pytorch3d", **PICTURE)
    torch.testing.assert_close(render(points, rgb, backend="soft", **PICTURE), expected)


def test_the_torch_path_draws_the_same_as_an_installed_package() -> None:
    pytest.importorskip("pytorch3d")
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2, 5000, 3, generator=generator) * 2 - 1
    rgb = torch.rand(2, 5000, 3, generator=generator)
    picture = {"views": SOFT_VIEWS, "size": 220, "radius": 0.012}
    expected = render(points, rgb, backend="pytorch3d", **picture)
    found = render(points, rgb, backend="soft", **picture)
    # A point whose distance is the radius, up to rounding, may or may not count.
    assert ((found - expected).abs() > 1e-4).float().mean() < 1e-4


def test_points_blend_and_points_behind_the_camera_do_not(pytorch3d) -> None:
    points = torch.tensor([[[0.0, 0.0, 0.5], [0.0, 0.0, 0.2], [0.0, 0.0, 1.5]]])
    rgb = torch.eye(3)[None]
    top = render(points, rgb, backend="pytorch3d", center_depth=False, **PICTURE)[0, 0]
    pixel = top[:, 12, 12]
    torch.testing.assert_close(pixel[3:6], torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(pixel[6], torch.tensor(0.5))
    assert (top[:6, 0, 0] == 0).all() and top[6, 0, 0] == -1


def test_invisible_points_and_empty_clouds(pytorch3d) -> None:
    points = torch.rand(2, 30, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    rgb = torch.rand(2, 30, 3, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(30).expand(2, -1) % 2 == 0
    options = {"backend": "pytorch3d", "normalize_xyz": False, **PICTURE}
    masked = render(points, rgb, valid, **options)
    torch.testing.assert_close(masked, render(points[:, ::2], rgb[:, ::2], **options))
    empty = render(points, rgb, torch.zeros_like(valid), **options)
    assert (empty[:, :, :6] == 0).all() and (empty[:, :, 6] == -1).all()


SOFT = "use_point_renderer False rend_three_views False depth 2"


@pytest.mark.parametrize(("opts", "renderer"), [("", "soft"), ("renderer.backend pytorch3d",) * 2])
def test_network_with_the_soft_renderer(pytorch3d, opts: str, renderer: str) -> None:
    network = TwoStageNetwork(load_network("configs/mvt/tiny.yaml", f"{SOFT} {opts}"))
    assert network.renderer == renderer.split()[-1] and network.views == SOFT_VIEWS


def test_absence_and_three_views_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    backends._examined.cache_clear()
    with pytest.raises(ConfigError, match="use_point_renderer: False.*cannot draw three views"):
        load_network("configs/mvt/tiny.yaml", "use_point_renderer False")
    with pytest.raises(ConfigError, match="backend: pytorch3d needs PyTorch3D.*leave the key out"):
        TwoStageNetwork(load_network("configs/mvt/tiny.yaml", f"{SOFT} renderer.backend pytorch3d"))
    with pytest.raises(ConfigError, match="backend: c does not draw softly.*auto, soft, pytorch3d"):
        load_network("configs/mvt/tiny.yaml", f"{SOFT} renderer.backend c")
    with pytest.raises(ValueError, match="backend: pytorch3d does not work here: .*pytorch3d"):
        render(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), backend="pytorch3d", **PICTURE)


def test_three_views_can_be_drawn_for_comparison(pytorch3d) -> None:
    points = torch.rand(1, 200, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    picture = {"views": THREE_VIEWS, "size": 24, "radius": 0.1, "center_depth": False}
    soft = render(points, points + 0.5, backend="pytorch3d", **picture)
    assert soft.shape == (1, 3, 7, 24, 24) and (soft[:, :, 6] >= 0).any()
