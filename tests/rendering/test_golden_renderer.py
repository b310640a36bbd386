"""Renderer and point helpers against stored results of the published arithmetic."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.rendering.renderer import rasterize, render, render_features
from sam2act.rendering.views import FIVE_VIEWS, THREE_VIEWS, project, project_half
from tests.golden_files import GoldenFile, golden
from tests.rendering.depth_images import assert_depths_close

RADIUS = 0.012  # default of all stored pictures
DEPTH_TOLERANCE = 2e-6  # of centred depth: a float32 sum in unspecified order
PIXEL_TOLERANCE = 2e-5


def tensors(golden_file: GoldenFile) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in golden_file.arrays().items()}


def matching(data: dict[str, Tensor], pattern: str) -> list[tuple[str, str]]:
    """Array names that match, each with the pattern's group (or the whole name); never empty."""
    matches = [match for name in data if (match := re.fullmatch(pattern, name))]
    assert matches, f"no array is named {pattern}"
    return [(match[0], match[match.lastindex or 0]) for match in matches]


def assert_images_equal(images: Tensor, expected: Tensor, backend: str) -> None:
    """All channels exact but the last, the depth."""
    assert torch.equal(images[..., :-1, :, :], expected[..., :-1, :, :])
    depth, expected_depth = images[..., -1, :, :], expected[..., -1, :, :]
    assert_depths_close(depth, expected_depth, DEPTH_TOLERANCE, backend)


@golden("renderer_synthetic.npz")
def test_synthetic_cloud(golden_file: GoldenFile, backend: str) -> None:
    data = tensors(golden_file)
    points, rgb = data["pc"][None], data["rgb"][None]
    size = data["images"].shape[-1]
    index, depth_mm = rasterize(points, None, THREE_VIEWS, size, RADIUS)
    assert torch.equal(index[0], data["index"].long())
    assert torch.equal(depth_mm[0], data["depth_mm"].long())
    images = render(points, rgb, views=THREE_VIEWS, size=size, radius=RADIUS, backend=backend)
    assert_images_equal(images[0], data["images"], backend)
    expected = data[matching(data, r"images_five_\d+")[0][0]]
    five = render(
        points, rgb, views=FIVE_VIEWS, size=expected.shape[-1], radius=RADIUS, backend=backend
    )
    assert_images_equal(five[0], expected, backend)


@golden("renderer_synthetic.npz")
def test_antialiasing_and_uncentred_depth(golden_file: GoldenFile, backend: str) -> None:
    data = tensors(golden_file)
    points, rgb = data["pc"][None], data["rgb"][None]
    for name, factor in matching(data, r"images_aa(\d+)_\d+"):
        size = data[name].shape[-1]
        images = render(
            points,
            rgb,
            views=THREE_VIEWS,
            size=size,
            radius=RADIUS,
            backend=backend,
            antialias=int(factor),
        )
        assert_images_equal(images[0], data[name], backend)
    expected = data[matching(data, r"images_rawdepth_\d+")[0][0]]
    images = render(
        points,
        rgb,
        views=THREE_VIEWS,
        size=expected.shape[-1],
        radius=RADIUS,
        backend=backend,
        center_depth=False,
    )
    assert torch.equal(images[0], expected)


@golden("renderer_edge.npz")
def test_edge_cases(golden_file: GoldenFile, backend: str) -> None:
    data = tensors(golden_file)
    cases = [name.removesuffix("_pc") for name in data if name.endswith("_pc")]
    assert cases
    for case in cases:
        points, features = data[f"{case}_pc"][None], data[f"{case}_feat"][None]
        expected = data[f"{case}_image"]
        size = expected.shape[-1]
        index, depth_mm = rasterize(points, None, THREE_VIEWS, size, RADIUS)
        assert torch.equal(index[0], data[f"{case}_index"].long()), case
        assert torch.equal(depth_mm[0], data[f"{case}_mm"].long()), case
        images = render_features(
            points, features, views=THREE_VIEWS, size=size, radius=RADIUS, backend=backend
        )
        assert_images_equal(images[0], expected, backend)


@golden("renderer_scene.npz")
def test_recorded_scene(golden_file: GoldenFile, backend: str) -> None:
    data = tensors(golden_file)
    bounds = SceneBounds.from_sequence(data["scene_bounds"].tolist())
    world = data["pc_world"][None]
    frame = bounds.cube_frame(1, world)
    waypoint = frame.to_cube(data["waypoint_world"][None])
    torch.testing.assert_close(waypoint[0], data["waypoint_local"], rtol=0, atol=1e-7)
    cloud = frame.to_cube(world)
    rgb = (data["rgb_u8"][None].float() / 255 * 2 - 1 + 1) / 2
    stages = {"stage1": cloud, "stage2": 4 * (cloud - data["waypoint_local"])}
    for stage, points in stages.items():
        expected_index = data[f"{stage}_index"].long()
        shape = expected_index.shape
        ambiguous = np.unpackbits(data[f"{stage}_ambiguous"].numpy())[: expected_index.numel()]
        clear = ~torch.from_numpy(ambiguous.astype(bool)).view(shape)
        index, depth_mm = rasterize(points, None, THREE_VIEWS, shape[-1], RADIUS)
        assert torch.equal(index[0][clear], expected_index[clear])
        assert torch.equal(depth_mm[0][clear], data[f"{stage}_depth_mm"].long()[clear])
        images = render(
            points, rgb, views=THREE_VIEWS, size=shape[-1], radius=RADIUS, backend=backend
        )[0]
        features = torch.cat([points[0] / data[f"{stage}_max_abs"], rgb[0]], dim=1)
        expected = features[expected_index.clamp(min=0)] * (expected_index >= 0)[..., None]
        assert torch.equal(images[:, :6].movedim(1, -1)[clear], expected[clear])
        expected = data[f"{stage}_depth"]
        depth = torch.where(clear, images[:, 6], expected)
        assert_depths_close(depth, expected, DEPTH_TOLERANCE, backend)
        sums = images.double().sum(dim=(2, 3))
        torch.testing.assert_close(sums, data[f"{stage}_channel_sum"], rtol=1e-3, atol=1.0)


@golden("renderer_points.npz")
def test_projected_points(golden_file: GoldenFile) -> None:
    data = tensors(golden_file)
    for views, label in ((THREE_VIEWS, "three"), (FIVE_VIEWS, "five")):
        for name, size in matching(data, label + r"_(\d+)"):
            pixels = project(data["pt"], views, int(size))
            torch.testing.assert_close(pixels, data[name], rtol=0, atol=PIXEL_TOLERANCE)
    zoomed = data["stage2_sca"] * (data["pt"] - data["stage2_loc"][:, None])
    for name, size in matching(data, r"stage2_three_(\d+)"):
        pixels = project(zoomed, THREE_VIEWS, int(size))
        torch.testing.assert_close(pixels, data[name], rtol=0, atol=4 * PIXEL_TOLERANCE)


@golden("renderer_points.npz")
def test_projected_points_in_half_precision(golden_file: GoldenFile) -> None:
    data = tensors(golden_file)
    ((name, size),) = matching(data, r"three_(\d+)_half")
    expected = data[name]
    pixels = project_half(data["pt"], THREE_VIEWS, int(size))
    unit = torch.nextafter(expected.abs(), torch.tensor(torch.inf).half()) - expected.abs()
    assert ((pixels - expected.float()).abs() <= unit.float()).all()
    assert (pixels != project(data["pt"], THREE_VIEWS, int(size))).any()
