"""The 3-D arg-max: both methods against each other and against direct sampling of all points."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam2act.rendering.backends import works
from sam2act.rendering.grid_argmax import (
    GridPeak,
    grid_argmax,
    grid_points,
    grid_top_k,
    view_tables,
)
from sam2act.rendering.heatmaps import gaussian_heatmaps, sample_inverse_distance
from sam2act.rendering.renderer import rasterize
from sam2act.rendering.views import FIVE_VIEWS, SOFT_VIEWS, THREE_VIEWS, VIEWS, project

VIEW_SETS = [THREE_VIEWS, FIVE_VIEWS, tuple(VIEWS.values()), THREE_VIEWS[:2], THREE_VIEWS[1:2]]


def heat_maps(kind: str, views: int, size: int, batch: int = 4, seed: int = 0) -> Tensor:
    """Heat maps (B, V, S, S): peaked in each view apart, noise, flat, or rounded noise (ties)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(batch, views, size, size, generator=generator)
    if kind == "peaked":
        points = torch.rand(batch, views, 2, generator=generator) * size
        return gaussian_heatmaps(points, size, 1.5) + 1e-6 * noise
    if kind == "noise":
        return torch.softmax(5 * noise.flatten(2), dim=-1).view_as(noise)
    if kind == "flat":
        return torch.full_like(noise, 1 / size**2)
    return (noise * 4).round() / 4


def direct_scores(heat: Tensor, views, shift: float = 0.0) -> Tensor:
    """(B, S^3) sums over views of every grid point sampled by itself."""
    batch, _, size, _ = heat.shape
    points = grid_points(torch.arange(size**3), size)
    total = torch.zeros(batch, size**3)
    for i, pixels in enumerate((project(points, views, size) - shift).unbind(1)):
        sampled = sample_inverse_distance(pixels.expand(batch, -1, 2), heat[:, i : i + 1])
        total = sampled[..., 0] if i == 0 else total + sampled[..., 0]
    return total


@pytest.mark.parametrize("method", ["dense", "pruned"])
@pytest.mark.parametrize("shift", [1 / 12, 0.3])
def test_projected_coordinates_may_be_shifted(method: str, shift: float) -> None:
    heat = heat_maps("noise", 5, 12)
    scores = direct_scores(heat, SOFT_VIEWS, shift)
    peak = grid_argmax(heat, SOFT_VIEWS, method, shift=shift)
    assert torch.equal(peak.index, scores.argmax(dim=1))
    torch.testing.assert_close(peak.score * 5, scores.amax(dim=1), rtol=1e-6, atol=0)
    assert not torch.equal(scores.amax(dim=1), direct_scores(heat, SOFT_VIEWS).amax(dim=1))


@pytest.mark.parametrize("views", VIEW_SETS, ids=len)
@pytest.mark.parametrize("kind", ["peaked", "noise", "flat", "ties"])
@pytest.mark.parametrize("method", ["dense", "pruned"])
def test_equals_direct_sampling_of_all_points(views, kind: str, method: str) -> None:
    heat = heat_maps(kind, len(views), 12)
    scores = direct_scores(heat, views)
    peak = grid_argmax(heat, views, method)
    torch.testing.assert_close(peak.score * len(views), scores.amax(dim=1), rtol=1e-6, atol=0)
    chosen = scores.gather(1, peak.index[:, None])[:, 0]
    torch.testing.assert_close(chosen, scores.amax(dim=1), rtol=1e-6, atol=0)
    top = scores.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] > 1e-6 * top[:, 0]
    assert torch.equal(peak.index[clear], scores.argmax(dim=1)[clear])


@pytest.mark.parametrize("size", [16, 33, 48])
@pytest.mark.parametrize("kind", ["peaked", "noise", "flat", "ties"])
@pytest.mark.parametrize("views", VIEW_SETS[:2], ids=len)
def test_pruned_equals_dense(views, kind: str, size: int) -> None:
    for seed in range(5):
        heat = heat_maps(kind, len(views), size, seed=seed)
        dense, pruned = grid_argmax(heat, views, "dense"), grid_argmax(heat, views, "pruned")
        assert torch.equal(dense.index, pruned.index)
        assert torch.equal(dense.score, pruned.score)
        assert torch.equal(dense.point, pruned.point)


@pytest.mark.parametrize("size", [9, 20])
@pytest.mark.parametrize("kind", ["peaked", "noise", "flat", "ties"])
def test_triton_equals_dense(kind: str, size: int) -> None:
    if not works("triton", "cpu"):
        pytest.skip("needs Triton and its interpreter (TRITON_INTERPRET=1)")
    heat = heat_maps(kind, 3, size)
    dense, found = grid_argmax(heat, THREE_VIEWS, "dense"), grid_argmax(heat, THREE_VIEWS, "triton")
    assert torch.equal(found.index, dense.index)
    assert torch.equal(found.score, dense.score)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["peaked", "noise", "flat", "ties"])
def test_triton_on_a_gpu_equals_dense_on_a_cpu(kind: str) -> None:
    pytest.importorskip("triton")
    heat = heat_maps(kind, 3, 224, batch=2)
    dense = grid_argmax(heat, THREE_VIEWS, "dense")
    found = grid_argmax(heat.cuda(), THREE_VIEWS, "triton")
    assert torch.equal(found.index.cpu(), dense.index)


def test_triton_is_for_the_published_views() -> None:
    with pytest.raises(ValueError, match="top, front and right"):
        grid_argmax(heat_maps("noise", 5, 8), FIVE_VIEWS, "triton")
    with pytest.raises(ValueError, match="not one of auto, dense, pruned, triton"):
        grid_argmax(heat_maps("noise", 3, 8), THREE_VIEWS, "fast")


@pytest.mark.parametrize("method", ["dense", "pruned"])
def test_chunks_do_not_change_the_result(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heat = heat_maps("ties", 3, 20)
    whole = grid_argmax(heat, THREE_VIEWS, method)
    monkeypatch.setattr("sam2act.rendering.grid_argmax.CHUNK", 20**2 * 4 * 3)
    assert torch.equal(grid_argmax(heat, THREE_VIEWS, method).index, whole.index)


@pytest.mark.parametrize("method", ["dense", "pruned"])
def test_ties_go_to_the_lowest_index(method: str) -> None:
    heat = torch.ones(2, 3, 16, 16) / 256
    tables = view_tables(heat, THREE_VIEWS)
    scores = (tables[:, 0, :, :, None] + tables[:, 1, None]) + tables[:, 2, :, None]
    first = (scores == scores.amax(dim=(1, 2, 3), keepdim=True)).flatten(1).int().argmax(dim=1)
    assert torch.equal(grid_argmax(heat, THREE_VIEWS, method).index, first)


@pytest.mark.parametrize("views", VIEW_SETS[:2], ids=len)
def test_heat_maps_of_a_point_lead_back_to_it(views) -> None:
    size = 64
    points = torch.rand(8, 3, generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    peak = grid_argmax(gaussian_heatmaps(project(points, views, size), size, 1.5), views)
    assert (peak.point - points).abs().max() <= 2 / size


def test_rendered_pixels_lead_back_to_the_point() -> None:
    size = 64
    points = torch.rand(6, 1, 3, generator=torch.Generator().manual_seed(3)) * 0.8 - 0.4
    index, _ = rasterize(points, None, THREE_VIEWS, size, 0.012)
    heat = (index >= 0).float()
    assert (grid_argmax(heat, THREE_VIEWS).point - points[:, 0]).abs().max() <= 2.01 / size


def test_last_grid_line_scores_nothing() -> None:
    tables = view_tables(torch.ones(1, 3, 16, 16), THREE_VIEWS)
    top, front, right = tables[0]  # falling axes: y in top, z in front, x and z in right
    assert (top[-1] == 0).all() and (top[:, 0] == 0).all() and (top[:-1, 1:] > 0.99).all()
    assert (front[-1] == 0).all() and (front[:, 0] == 0).all()
    assert (right[0] == 0).all() and (right[:, 0] == 0).all()


@pytest.mark.parametrize("size", [2, 7, 32, 64, 224, 256])
def test_grid_is_symmetric_and_projects_into_its_pixel_block(size: int) -> None:
    points = grid_points(torch.arange(size) * (size**2 + size + 1), size)
    assert (points + points.flip(0)).abs().max() < 1e-6
    pixels = project(points, tuple(VIEWS.values()), size)
    for v, view in enumerate(VIEWS.values()):
        for i, sign in enumerate((view.column_sign, view.row_sign)):
            block = pixels[:, v, i].floor().long()
            expected = torch.arange(size) if sign > 0 else torch.arange(size).flip(0)
            assert torch.equal(block, expected)


def test_top_k_without_suppression_takes_the_best_scores() -> None:
    heat = heat_maps("noise", 3, 10)
    scores = direct_scores(heat, THREE_VIEWS) / 3
    peaks = grid_top_k(heat, THREE_VIEWS, 4)
    torch.testing.assert_close(peaks.score, scores.topk(4, dim=1).values, rtol=1e-6, atol=0)
    assert torch.equal(peaks.index[:, 0], grid_argmax(heat, THREE_VIEWS).index)
    assert all(len(set(row)) == 4 for row in peaks.index.tolist())


def test_suppressed_peaks_keep_their_distance() -> None:
    peaks = grid_top_k(heat_maps("noise", 3, 16), THREE_VIEWS, 3, suppression_distance=0.5)
    distances = torch.cdist(peaks.point, peaks.point) + 9 * torch.eye(3)
    assert distances.min() >= 0.5


@pytest.mark.parametrize("method", ["dense", "pruned"])
def test_non_finite_heat_maps_give_a_valid_index(method: str) -> None:
    heat = heat_maps("noise", 3, 8)
    heat[0] = float("nan")
    heat[1, 0, 2, 2] = float("inf")
    index = grid_argmax(heat, THREE_VIEWS, method).index
    assert ((index >= 0) & (index < 8**3)).all()


def test_half_precision_maps_are_read_as_they_are() -> None:
    heat = heat_maps("peaked", 3, 16).half()
    peak = grid_argmax(heat, THREE_VIEWS)
    assert peak.score.dtype == torch.float32
    assert torch.equal(peak.index, grid_argmax(heat.float(), THREE_VIEWS).index)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="one per view"):
        grid_argmax(torch.zeros(1, 2, 8, 8), THREE_VIEWS)
    with pytest.raises(ValueError, match="auto, dense, pruned"):
        grid_argmax(torch.zeros(1, 3, 8, 8), THREE_VIEWS, "fast")


def test_auto_method_compiles_as_one_graph() -> None:
    heat = heat_maps("peaked", 3, 16)

    def peak(heat: Tensor) -> GridPeak:
        return grid_argmax(heat, THREE_VIEWS)

    compiled = torch.compile(peak, fullgraph=True, backend="eager")(heat)
    assert torch.equal(compiled.index, peak(heat).index)
    assert torch.equal(compiled.score, peak(heat).score)


@pytest.mark.gpu
def test_cuda_equals_cpu() -> None:
    heat = heat_maps("peaked", 3, 64)
    expected, found = grid_argmax(heat, THREE_VIEWS), grid_argmax(heat.cuda(), THREE_VIEWS)
    torch.testing.assert_close(found.score.cpu(), expected.score, rtol=1e-5, atol=0)
