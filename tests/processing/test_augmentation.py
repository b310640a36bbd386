"""Resized crops and changes of colours: what they compute, what they depend on."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.core.types import KeyframeBatch, WindowBatch
from sam2act.geometry.cameras import unproject
from sam2act.processing.colours import with_changed_colours
from sam2act.processing.transforms import Transforms
from tests.policies.noise import batch as keyframes
from tests.processing.samples import SPEC, windows

SEEDS = torch.tensor([3, 2**61 + 5, 77, 10**15, 3, 12])  # the first and the fifth are equal


def build(text: str) -> Transforms:
    return Transforms((text,), SPEC)


def trained(text: str, batch: WindowBatch, seeds: torch.Tensor | None = SEEDS) -> WindowBatch:
    changed = build(text).batch(batch, seeds)
    assert isinstance(changed, WindowBatch)
    return changed


def ramp(side: int) -> WindowBatch:
    """Windows whose red is the column and whose green is the row of a pixel."""
    batch = windows(side=side)
    line = torch.arange(side, dtype=torch.uint8)
    columns, rows = line.expand(side, side), line[:, None].expand(side, side)
    rgb = torch.stack([columns, rows, torch.zeros_like(rows)], -1)
    observed = dataclasses.replace(batch.observed, rgb=rgb.expand(6, 2, side, side, 3))
    return dataclasses.replace(batch, observed=observed)


def test_the_middle_of_the_area_fills_the_image_while_acting() -> None:
    observed = build("resized_crop(0.81)").observation(ramp(101).observed)
    row = observed.rgb[0, 0, 50, :, 0].numpy()
    np.testing.assert_allclose(row, 5 + 0.9 * np.arange(101), atol=0.5)  # 0.9 = sqrt(0.81)
    assert torch.equal(observed.rgb[..., 0], observed.rgb[..., 1].mT)


def test_crops_lie_anywhere_in_training_and_depend_on_the_seed_alone() -> None:
    batch = ramp(101)
    found = trained("resized_crop(0.25)", batch).observed.rgb.int()
    left, top = found[:, 0, 0, 0, 0], found[:, 0, 0, 0, 1]
    right = found[:, 0, 0, -1, 0]
    assert ((right - left - 50).abs() <= 1).all() and 0 <= int(left.min()) <= int(left.max()) <= 50
    assert len(set(zip(left.tolist(), top.tolist(), strict=True))) == 5
    assert torch.equal(found[0], found[4]) and torch.equal(found[:, 0], found[:, 1])
    alone = trained("resized_crop(0.25)", batch.select([1]), SEEDS[1:2]).observed.rgb
    assert torch.equal(alone.int()[0], found[1])


def test_the_whole_area_changes_nothing() -> None:
    before = windows().observed
    after = trained("resized_crop(1.0)", windows()).observed
    for name in ("rgb", "depth", "mask", "intrinsics"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name


@pytest.mark.parametrize("frames", [0, 3])
def test_points_of_kept_pixels_stay_within_half_a_pixel(frames: int) -> None:
    batch = windows(frames=frames)
    before, after = batch.observed, trained("resized_crop(0.8)", batch).observed
    points, kept = (unproject(*o.geometry).flatten(-3, -2) for o in (before, after))
    assert after.mask is not None
    wanted = points.gather(-2, after.mask.flatten(-2)[..., None].expand_as(kept))
    half_a_pixel = 1.5 / 40 / 2  # metres: the largest depth over the focal length
    assert float((kept - wanted).abs().max()) <= half_a_pixel + 1e-6
    assert not torch.equal(kept, points)


def test_colours_are_those_of_colorsys() -> None:
    random = torch.Generator().manual_seed(0)
    rgb = torch.randint(256, (1, 4, 5, 3), generator=random, dtype=torch.uint8)
    found = with_changed_colours(rgb, torch.tensor([[0.0, 0.0, 0.15, -0.04]]))
    for before, after in zip(rgb.view(-1, 3), found.view(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before.double() / 255).tolist())
        expected = colorsys.hsv_to_rgb((hue - 0.04) % 1, min(1.0, saturation * 1.15), value)
        np.testing.assert_allclose(after.numpy(), np.array(expected) * 255, atol=0.51)


def test_brightness_is_added_and_contrast_spreads_about_the_mean() -> None:
    rgb = torch.tensor([100, 150], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    lighter = with_changed_colours(rgb, torch.tensor([[0.2, 0.0, 0.0, 0.0]]))
    assert lighter[0, 0, :, 0].tolist() == [151, 201]
    flatter = with_changed_colours(rgb, torch.tensor([[0.0, -0.2, 0.0, 0.0]]))
    assert flatter[0, 0, :, 0].tolist() == [105, 145]
    white = with_changed_colours(rgb, torch.tensor([[0.5, 0.0, 0.0, 0.0]]))
    assert white.max() == 255 and white[0, 0, 0, 0] == 228


def test_jitter_depends_on_the_seed_alone_and_spares_acting() -> None:
    batch = windows()
    found = trained("jitter_colours", batch).observed.rgb
    assert torch.equal(
        trained("jitter_colours", batch.select([1]), SEEDS[1:2]).observed.rgb[0], found[1]
    )
    assert not torch.equal(found, batch.observed.rgb)
    assert build("jitter_colours").observation(batch.observed) is batch.observed
    assert trained("jitter_colours", batch, None) is batch
    still = trained("jitter_colours(0.0, 0.0, 0.0, 0.0)", batch).observed.rgb
    assert torch.equal(still, batch.observed.rgb)


def test_samples_of_keyframes_are_augmented_too() -> None:
    samples = keyframes(2)
    for text in ("resized_crop", "jitter_colours"):
        changed = build(text).batch(samples, SEEDS[: len(samples.rgb)])
        assert isinstance(changed, KeyframeBatch)
        assert changed.rgb.shape == samples.rgb.shape and not torch.equal(changed.rgb, samples.rgb)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resized_crop(0)", "resized_crop: area=0 must be above 0 and at most 1"),
        ("resized_crop('a')", "area='a'"),
        ("jitter_colours(hue=0.6)", "jitter_colours: hue=0.6 must be from 0 to 0.5"),
        ("jitter_colours(-0.1)", "brightness=-0.1"),
    ],
)
def test_impossible_parameters_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(text)
