"""Compiled backends draw what the torch path draws, and their absence is no obstacle."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from sam2act.core.c_library import CompilerError
from sam2act.rendering import backends, splat_c, splat_torch
from sam2act.rendering.backends import backend_names, select_backend
from sam2act.rendering.renderer import render, render_features
from sam2act.rendering.views import FIVE_VIEWS, THREE_VIEWS, VIEWS, View
from tests.rendering.depth_images import assert_depths_close

DEPTH_TOLERANCE = 1e-6
VIEW_SETS: dict[str, tuple[View, ...]] = {
    "three": THREE_VIEWS,
    "five": FIVE_VIEWS,
    "all": tuple(VIEWS.values()),
    "one": THREE_VIEWS[1:2],
}


def cloud(kind: str, batch: int = 2, count: int = 1500, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points beyond the cube on all sides, and colours."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, count, 3, generator=generator) * 2.6 - 1.3
    if kind == "ties":
        points = (points * 30).round() / 30
    if kind == "far":
        points = points * 5
    if kind == "broken":
        points[:, ::7, 0] = float("nan")
        points[:, 1::7, 1] = float("inf")
        points[:, 2::7, 2] = -float("inf")
        points[:, 3::7] = 3e38
    if kind == "surface":  # every pixel of the top view is hit many times
        points[..., 2] = 0.25
    return points, torch.rand(batch, count, 3, generator=generator)


def assert_same_pictures(
    found: Tensor, expected: Tensor, backend: str, tolerance: float = DEPTH_TOLERANCE
) -> None:
    """All channels exact but the centred depth."""
    assert torch.equal(found[:, :, :6], expected[:, :, :6])
    assert_depths_close(found[:, :, 6], expected[:, :, 6], tolerance, backend)


@pytest.mark.parametrize("kind", ["plain", "ties", "far", "broken", "surface"])
@pytest.mark.parametrize("views", VIEW_SETS.values(), ids=VIEW_SETS)
@pytest.mark.parametrize(("size", "radius"), [(24, 0.02), (24, 0.13), (21, 0.32)])
def test_pictures_equal_the_torch_path(compiled_backend, kind, views, size, radius) -> None:
    """Disks of radius 0.2, 1.6 and 3.4 pixels; more than one Triton block in the first two."""
    points, rgb = cloud(kind, count=600)
    picture = {"views": views, "size": size, "radius": radius}
    expected = render(points, rgb, backend="torch", **picture)
    assert_same_pictures(
        render(points, rgb, backend=compiled_backend, **picture), expected, compiled_backend
    )
    assert (expected[:, :, 6] != -1).any()


@pytest.mark.parametrize("kind", ["plain", "broken"])
def test_masks_options_and_depth_before_centring_are_exact(
    compiled_backend: str, kind: str
) -> None:
    points, rgb = cloud(kind, count=600)
    valid = torch.rand(points.shape[:2], generator=torch.Generator().manual_seed(1)) < 0.5
    picture = {"views": THREE_VIEWS, "size": 24, "radius": 0.1, "center_depth": False}
    for options in ({}, {"normalize_xyz": False}, {"antialias": 2}, {"pixel_location": True}):
        expected = render(points, rgb, valid, backend="torch", **picture, **options)
        found = render(points, rgb, valid, backend=compiled_backend, **picture, **options)
        assert torch.equal(found, expected), options


def test_tensors_with_gaps_and_any_number_of_features(compiled_backend: str) -> None:
    points, _ = cloud("plain", count=3000)
    points = points[:, ::2]
    features = torch.rand(2, 5, points.shape[1], generator=torch.Generator().manual_seed(2))
    features = features.transpose(1, 2)
    valid = (torch.arange(2 * points.shape[1]) % 3 > 0).view(-1, 2).T
    picture = {"views": THREE_VIEWS, "size": 32, "radius": 0.1, "center_depth": False}
    expected = render_features(points, features, valid, backend="torch", **picture)
    assert torch.equal(
        render_features(points, features, valid, backend=compiled_backend, **picture), expected
    )


@pytest.mark.parametrize("count", [0, 1, 5])
def test_clouds_of_few_or_no_points(backend: str, count: int) -> None:
    points, rgb = cloud("plain", count=count)
    picture = {"views": THREE_VIEWS, "size": 24, "radius": 0.1, "center_depth": False}
    expected = render(points, rgb, backend="torch", **picture)
    assert torch.equal(render(points, rgb, backend=backend, **picture), expected)
    nothing = torch.zeros(2, count, dtype=torch.bool)
    empty = render(points, rgb, nothing, backend=backend, **picture)
    assert (empty[:, :, :6] == 0).all() and (empty[:, :, 6] == -1).all()


needs_compiler = pytest.mark.skipif(not backends.works("c", "cpu"), reason="no C compiler")


@needs_compiler
def test_number_of_threads_changes_nothing() -> None:
    points, rgb = cloud("ties", batch=3)
    picture = {"views": THREE_VIEWS, "size": 48, "radius": 0.05, "backend": "c"}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = render(points, rgb, **picture)
        torch.set_num_threads(6)
        assert torch.equal(render(points, rgb, **picture), alone)
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_auto_takes_c_on_a_cpu_and_torch_without_a_compiler(monkeypatch, caplog) -> None:
    monkeypatch.setattr(backends, "_fastest", backends._fastest.__wrapped__)
    monkeypatch.setattr(backends, "_examined", backends._examined.__wrapped__)
    points = torch.zeros(1)
    assert select_backend("auto", points) is splat_c

    def no_compiler(device: str) -> None:
        raise CompilerError("no C compiler is installed")

    monkeypatch.setattr(splat_c, "prepare", no_compiler)
    with caplog.at_level(logging.INFO):
        assert select_backend("auto", points) is splat_torch
    (line,) = caplog.messages
    assert line == "renderer: slower torch path instead of c (no C compiler is installed)"
    with pytest.raises(ValueError, match="backend: c does not work here: no C compiler .*use auto"):
        select_backend("c", points)


def test_fallback_is_logged_once(monkeypatch, caplog) -> None:
    def no_compiler(device: str) -> None:
        raise CompilerError("none")

    monkeypatch.setattr(splat_c, "prepare", no_compiler)
    backends._examined.cache_clear()
    backends._fastest.cache_clear()
    try:
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                select_backend("auto", torch.zeros(1))
        assert len(caplog.messages) == 1
    finally:
        backends._examined.cache_clear()
        backends._fastest.cache_clear()


def test_backends_for_another_device_are_refused() -> None:
    elsewhere = torch.zeros(1, device="meta")
    with pytest.raises(ValueError, match="c does not work here: it draws on a CPU, not on meta"):
        select_backend("c", elsewhere)
    assert select_backend("auto", elsewhere) is splat_torch
    assert backend_names() == ("auto", "torch", "c", "triton", "soft", "pytorch3d")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["plain", "ties", "far", "broken", "surface"])
def test_triton_on_a_gpu_equals_torch_on_a_cpu(kind: str) -> None:
    pytest.importorskip("triton")
    points, rgb = cloud(kind, batch=4, count=20000)
    picture = {"views": THREE_VIEWS, "size": 224, "radius": 0.012}
    expected = render(points, rgb, backend="torch", **picture)
    found = render(points.cuda(), rgb.cuda(), backend="triton", **picture).cpu()
    assert_same_pictures(found, expected, "triton", tolerance=2e-6)
