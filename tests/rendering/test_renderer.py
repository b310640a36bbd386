"""Properties of the renderer: order, invisibility, batching, shapes, compilation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam2act.rendering.renderer import rasterize, render, render_features, write_pixel_location
from sam2act.rendering.splat_torch import splat_offsets
from sam2act.rendering.views import FIVE_VIEWS, THREE_VIEWS, project

RADIUS = 0.012
PICTURE = {"views": THREE_VIEWS, "size": 64, "radius": 0.05}


def random_cloud(batch: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, count, 3, generator=generator) * 2.4 - 1.2
    return points, torch.rand(batch, count, 3, generator=generator)


def slow_rasterize(points: Tensor, views, size: int, radius: float) -> tuple[Tensor, Tensor]:
    """One cloud (N, 3), pixel by pixel and point by point, as the rules are worded."""
    pixels = project(points, views, size)
    index = torch.full((len(views), size, size), -1)
    depth = torch.full((len(views), size, size), -1)
    for v, view in enumerate(views):
        axis = points[:, view.depth_axis]
        metric = view.depth_sign * axis + view.depth_offset
        for n in range(len(points)):
            u, w = pixels[n, v].tolist()
            if not torch.isfinite(points[n]).all() or not (0 <= u < size and 0 <= w < size):
                continue
            steps, at = int((metric[n] * 1000).clamp(min=0)), (v, int(w), int(u))
            if depth[at] < 0 or steps < depth[at]:
                index[at], depth[at] = n, steps
    first_index, first_depth = index.clone(), depth.clone()
    for v in range(len(views)):
        for row in range(size):
            for column in range(size):
                for dx, dy in splat_offsets(radius, size):
                    if not (0 <= column + dx < size and 0 <= row + dy < size):
                        continue
                    near, here = (v, row + dy, column + dx), (v, row, column)
                    if first_depth[near] <= 0:
                        continue
                    if depth[here] < 0 or first_depth[near] <= depth[here]:
                        index[here], depth[here] = first_index[near], first_depth[near]
    return index, depth


@pytest.mark.parametrize("radius", [0.05, 0.16])
def test_rasterize_equals_the_rules_word_by_word(radius: float) -> None:
    points, _ = random_cloud(1, 300)
    points = (points * 40).round() / 40  # many ties
    points[0, ::50, 1] = float("nan")
    index, depth = rasterize(points, None, FIVE_VIEWS, 24, radius)
    expected = slow_rasterize(points[0], FIVE_VIEWS, 24, radius)
    assert torch.equal(index[0], expected[0])
    assert torch.equal(depth[0], expected[1])


def test_published_splat_is_a_plus() -> None:
    assert splat_offsets(RADIUS, 224) == ((-1, 0), (0, -1), (0, 0), (0, 1), (1, 0))
    assert splat_offsets(RADIUS, 64) == ((0, 0),)
    assert len(splat_offsets(RADIUS, 240)) == 9
    assert len(splat_offsets(RADIUS, 448)) == 21


def test_appending_invisible_points_changes_nothing() -> None:
    points, rgb = random_cloud(2, 500)
    pictures = render(points, rgb, **PICTURE)
    hidden = torch.tensor([[0.1, float("nan"), 0.2], [float("inf"), 0, 0], [0.3, 0.3, 0.3]])
    more = torch.cat([points, hidden.expand(2, 3, 3)], dim=1)
    valid = torch.ones(2, 503, dtype=torch.bool)
    valid[:, -1] = False
    more_rgb = torch.cat([rgb, torch.ones(2, 3, 3)], dim=1)
    assert torch.equal(render(more, more_rgb, valid, **PICTURE), pictures)


def test_masking_points_equals_removing_them() -> None:
    points, rgb = random_cloud(1, 400)
    valid = torch.rand(1, 400, generator=torch.Generator().manual_seed(4)) < 0.6
    masked = render(points, rgb, valid, **PICTURE)
    removed = render(points[valid][None], rgb[valid][None], **PICTURE)
    assert torch.equal(masked, removed)
    moved = points.masked_fill(~valid[..., None], float("nan"))
    assert torch.equal(render(moved, rgb, **PICTURE), removed)


def test_ties_go_to_the_lowest_index() -> None:
    points = torch.tensor([[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3001]]])
    index, _ = rasterize(points, None, THREE_VIEWS[:1], 64, RADIUS)
    assert index.max() == 0 or index[index >= 0].unique().tolist() == [2]
    equal = torch.tensor([[[0.1, 0.2, 0.3]] * 3])
    index, _ = rasterize(equal, None, THREE_VIEWS, 64, RADIUS)
    assert index[index >= 0].unique().tolist() == [0]


def test_point_behind_the_camera_hides_everything() -> None:
    points = torch.tensor([[[0.1, 0.45, 0.3], [0.1, 0.9, 0.3]]])  # right camera at y = 0.5
    index, depth = rasterize(points, None, (THREE_VIEWS[2],), 64, RADIUS)
    assert index.max() == 1 and depth.max() == 0


def test_batch_equals_samples_one_by_one() -> None:
    points, rgb = random_cloud(3, 600)
    together = render(points, rgb, **PICTURE)
    for i in range(3):
        alone = render(points[i : i + 1], rgb[i : i + 1], **PICTURE)
        assert torch.equal(together[i : i + 1], alone)


def test_rendered_point_lies_where_it_projects() -> None:
    points = torch.rand(20, 1, 3, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9
    index, depth = rasterize(points, None, FIVE_VIEWS, 32, RADIUS)
    column, row = project(points[:, 0], FIVE_VIEWS, 32).long().unbind(-1)
    hit = (index >= 0).flatten(2)
    assert (hit.sum(dim=2) == 1).all()
    assert torch.equal(hit.int().argmax(dim=2), row * 32 + column)
    assert ((depth >= 0) == (index >= 0)).all()


def test_channels_of_a_picture() -> None:
    points, rgb = random_cloud(1, 50)
    index, depth = rasterize(points, None, **PICTURE)
    pictures = render(points, rgb, **PICTURE)
    seen = index[0] >= 0
    colors = pictures[0, :, 3:6].movedim(1, -1)[seen]
    assert torch.equal(colors, rgb[0][index[0][seen]])
    largest = points.abs().max()
    positions = pictures[0, :, :3].movedim(1, -1)[seen]
    assert torch.equal(positions, points[0][index[0][seen]] / largest)
    plain = render(points, rgb, normalize_xyz=False, center_depth=False, **PICTURE)
    assert torch.equal(plain[0, :, :3].movedim(1, -1)[seen], points[0][index[0][seen]])
    assert torch.equal(plain[0, :, 6][seen], depth[0][seen].float() * 0.001)
    assert (pictures[0, :, 6][~seen] == -1).all() and (pictures[0, :, :6].sum(1)[~seen] == 0).all()
    means = (pictures[0, :, 6] * seen).sum((1, 2)) / seen.sum((1, 2))
    assert means.abs().max() < 1e-4


def test_scaling_the_positions_keeps_normalised_channels() -> None:
    points, rgb = random_cloud(1, 50)
    xyz = render(points / 2, rgb, **PICTURE)[:, :, :3]
    assert xyz.abs().max() <= 1


@pytest.mark.parametrize("count", [0, 3])
def test_empty_clouds_give_background(count: int) -> None:
    points = torch.full((2, count, 3), float("nan"))
    pictures = render(points, torch.ones(2, count, 3), **PICTURE)
    assert pictures.shape == (2, 3, 7, 64, 64)
    assert (pictures[:, :, :6] == 0).all() and (pictures[:, :, 6] == -1).all()


def test_point_at_the_origin_stays_finite() -> None:
    pictures = render(torch.zeros(1, 1, 3), torch.ones(1, 1, 3), **PICTURE)
    assert torch.isfinite(pictures).all() and (pictures[:, :, 3] == 1).any()


def test_autocast_and_gradients_stay_out() -> None:
    points, rgb = random_cloud(1, 200)
    plain = render(points, rgb, **PICTURE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = render(points.requires_grad_(), rgb, **PICTURE)
    assert cast.dtype == torch.float32 and not cast.requires_grad
    assert torch.equal(plain, cast)


def test_antialiasing_by_one_is_the_plain_picture() -> None:
    points, rgb = random_cloud(1, 200)
    assert torch.equal(render(points, rgb, antialias=1, **PICTURE), render(points, rgb, **PICTURE))


def test_pixel_location_channels() -> None:
    images = torch.full((2, 3, 10, 5, 4), 7.0)
    write_pixel_location(images)
    assert (images[:, :, :7] == 7).all()
    assert images[1, :, 7, 2, 3].tolist() == [-1, 0, 1]
    assert images[1, 2, 8, :, 0].tolist() == [-1, -0.5, 0, 0.5, 1]
    torch.testing.assert_close(images[0, 0, 9, 4], torch.linspace(-1, 1, 4))


def test_location_beside_the_drawn_channels() -> None:
    points, rgb = random_cloud(2, 300)
    pictures = render(points, rgb, pixel_location=True, **PICTURE)
    location = torch.zeros_like(pictures)
    write_pixel_location(location)
    assert torch.equal(pictures[:, :, 7:], location[:, :, 7:])
    assert torch.equal(pictures[:, :, :7], render(points, rgb, **PICTURE))


def test_wrong_input_is_named() -> None:
    points, rgb = random_cloud(1, 10)
    with pytest.raises(ValueError, match="renderer.backend: 'gpu' is not one of auto, torch"):
        render(points, rgb, backend="gpu", **PICTURE)
    with pytest.raises(ValueError, match="must be"):
        render_features(points, rgb[:, :5], **PICTURE)
    with pytest.raises(ValueError, match="bool"):
        render(points, rgb, torch.ones(1, 10), **PICTURE)


def test_rendering_compiles_as_one_graph() -> None:
    points, rgb = random_cloud(2, 100)
    valid = points[..., 0] > -1

    def pictures(points: Tensor, rgb: Tensor, valid: Tensor) -> Tensor:
        return render(points, rgb, valid, pixel_location=True, **PICTURE)

    compiled = torch.compile(pictures, fullgraph=True, backend="eager")
    assert torch.equal(compiled(points, rgb, valid), pictures(points, rgb, valid))


@pytest.mark.gpu
def test_cuda_equals_cpu() -> None:
    points, rgb = random_cloud(4, 20000)
    expected = render(points, rgb, views=THREE_VIEWS, size=224, radius=RADIUS)
    found = render(points.cuda(), rgb.cuda(), views=THREE_VIEWS, size=224, radius=RADIUS).cpu()
    assert torch.equal(found[:, :, :6], expected[:, :, :6])
    torch.testing.assert_close(found[:, :, 6], expected[:, :, 6], rtol=0, atol=2e-6)


def test_tensors_on_several_devices_are_refused() -> None:
    points, valid = torch.zeros(1, 4, 3), torch.ones(1, 4, dtype=torch.bool, device="meta")
    with pytest.raises(ValueError, match="lie on several devices"):
        render(points, points, valid, **PICTURE)
    with pytest.raises(ValueError, match="lie on several devices"):
        render(points, points.to("meta"), **PICTURE)
