"""The soft renderer against a slow one that looks at every pixel and every point."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam2act.rendering import splat_soft
from sam2act.rendering.renderer import render, render_features
from sam2act.rendering.views import FIVE_VIEWS, SOFT_VIEWS, View, project, view_depth


def one_view(points: Tensor, features: Tensor, view: View, size: int, radius: float) -> Tensor:
    """(C + 1, S, S) of points (N, 3) with features (N, C), pixel by pixel."""
    image = torch.zeros(features.shape[1] + 1, size, size)
    image[-1] = -1
    pixels, depths = project(points, [view], size)[:, 0], view_depth(points, [view])[:, 0]
    for row in range(size):
        for column in range(size):
            center = torch.tensor([column + 0.5, row + 0.5])
            squared = ((pixels - center) * 2 / size).square().sum(dim=1)
            hit = ((squared < radius**2) & (depths >= 0)).nonzero()[:, 0].tolist()
            nearest = sorted(hit, key=lambda n: (float(depths[n]), n))[:5]
            if not nearest:
                continue
            weight = 1 - squared[nearest] / radius**2
            mean = (weight[:, None] * features[nearest]).sum(dim=0) / weight.sum().clamp(min=1e-4)
            image[:, row, column] = torch.cat([mean, depths[nearest[:1]]])
    return image


def cloud(kind: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two clouds that reach beyond the cube, with colours."""
    generator = torch.Generator().manual_seed(seed)
    count = {"sparse": 20, "empty": 0}.get(kind, 150)
    points = torch.rand(2, count, 3, generator=generator) * 2.4 - 1.2
    if kind == "surface":  # many points of one depth in every pixel
        points[..., 2] = 0.25
    if kind == "far":
        points = points * 20
    return points, torch.rand(2, count, 3, generator=generator)


@pytest.mark.parametrize("kind", ["plain", "surface", "sparse", "far", "empty"])
@pytest.mark.parametrize(("size", "radius"), [(14, 0.2), (11, 0.05), (9, 0.5)])
def test_equals_the_slow_renderer(kind: str, size: int, radius: float) -> None:
    points, features = cloud(kind)
    picture = {"views": SOFT_VIEWS, "size": size, "radius": radius, "center_depth": False}
    found = render_features(points, features, backend="soft", **picture)
    for b in range(2):
        for v, view in enumerate(SOFT_VIEWS):
            expected = one_view(points[b], features[b], view, size, radius)
            torch.testing.assert_close(found[b, v], expected, rtol=0, atol=1e-5)


def test_parts_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    points, rgb = cloud("plain")
    valid = torch.rand(2, 150, generator=torch.Generator().manual_seed(3)) < 0.7
    picture = {"views": SOFT_VIEWS, "size": 24, "radius": 0.1, "backend": "soft"}
    whole = render(points, rgb, valid, **picture)
    monkeypatch.setattr(splat_soft, "CHUNK", 1)  # one image at a time
    assert torch.equal(render(points, rgb, valid, **picture), whole)
    alone = render(points[1:, valid[1]], rgb[1:, valid[1]], normalize_xyz=False, **picture)
    together = render(points, rgb, valid, normalize_xyz=False, **picture)
    torch.testing.assert_close(alone[0], together[1])


def test_only_images_that_exceed_one_are_rescaled_sample_by_sample() -> None:
    points = torch.zeros(2, 1, 3)
    features = torch.tensor([[[0.2, 2.0]], [[0.2, 0.8]]])
    picture = {"views": SOFT_VIEWS, "size": 12, "radius": 0.3, "center_depth": False}
    found = render_features(points, features, backend="soft", **picture)[:, :, :, 6, 6]
    torch.testing.assert_close(found[0, :, :2], torch.tensor([0.1, 1.0]).expand(5, 2))
    torch.testing.assert_close(found[1, :, :2], torch.tensor([0.2, 0.8]).expand(5, 2))
    assert (found[:, :, 2] == 1).all()  # the depth of the centre of the cube stays


def test_what_cannot_be_seen_is_not_drawn() -> None:
    broken = torch.tensor([[float("nan"), 0, 0], [0, float("inf"), 0], [3e38, 0, 0]])
    behind = torch.tensor([[0, 0, 1.01]])  # of the top camera
    points = torch.cat([broken, behind])[None]
    picture = {"views": SOFT_VIEWS, "size": 12, "radius": 0.3, "center_depth": False}
    images = render(points, torch.ones(1, 4, 3), normalize_xyz=False, backend="soft", **picture)
    assert (images[:, 0, 6] == -1).all() and (images[:, 0, :6] == 0).all()


def test_mean_depth_is_taken_off_what_is_drawn() -> None:
    points, rgb = cloud("sparse")
    picture = {"views": SOFT_VIEWS, "size": 20, "radius": 0.1, "backend": "soft"}
    raw = render(points, rgb, center_depth=False, **picture)[:, :, 6]
    centred = render(points, rgb, **picture)[:, :, 6]
    empty = raw == -1
    assert empty.any() and (centred[empty] == -1).all()
    sums = centred.masked_fill(empty, 0).sum(dim=(2, 3))
    torch.testing.assert_close(sums, torch.zeros_like(sums), rtol=0, atol=1e-3)


def test_each_side_is_seen_under_the_names_of_the_soft_renderer() -> None:
    """`views.py` has the same faces under other names, but for the camera at y = 1."""
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    here = {view.name: project(points, [view], 220) for view in SOFT_VIEWS}
    there = {view.name: project(points, [view], 220) for view in FIVE_VIEWS}
    same = {"top": "top", "front": "right", "back": "left", "left": "front", "right": "back"}
    for name, other in same.items():
        assert torch.equal(here[name], there[other]), name
    depth = view_depth(points, SOFT_VIEWS)
    x, y, z = points.unbind(-1)
    expected = torch.stack([1 - z, 1 - y, 1 + y, 1 - x, 1 + x], dim=-1)
    torch.testing.assert_close(depth, expected)


@pytest.mark.gpu
def test_a_gpu_draws_what_a_cpu_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 20000, 3, generator=generator) * 2.2 - 1.1
    rgb = torch.rand(2, 20000, 3, generator=generator)
    picture = {"views": SOFT_VIEWS, "size": 220, "radius": 0.012, "backend": "soft"}
    expected = render(points, rgb, **picture)
    found = render(points.cuda(), rgb.cuda(), **picture).cpu()
    # A point whose distance is the radius, up to rounding, may or may not count.
    assert ((found - expected).abs() > 1e-4).float().mean() < 1e-4
