"""Crop and blur of clips, and actions brought to the limits of a normaliser."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.core.types import ContractError, WindowBatch
from sam2act.processing.clip_augmentation import AugmentClip
from sam2act.processing.statistics import Scaling
from tests.processing.samples import SPEC, windows

SEEDS = torch.tensor([3, 4, 5, 6, 7, 8])


def clips() -> WindowBatch:
    """Windows of four frames that all look the same, in colour only."""
    batch = windows(frames=4)
    rgb = batch.observed.rgb[:, :1].expand(-1, 4, -1, -1, -1, -1)
    observed = dataclasses.replace(
        batch.observed, rgb=rgb, depth=None, intrinsics=None, extrinsics=None
    )
    return dataclasses.replace(batch, observed=observed)


def test_all_frames_of_a_sample_change_alike_and_samples_differently() -> None:
    batch = clips()
    changed = AugmentClip(SPEC, 0.8, 1.0, 1.0).batch(batch, SEEDS).observed.rgb
    assert changed.shape == batch.observed.rgb.shape and changed.dtype == torch.uint8
    assert torch.equal(changed, changed[:, :1].expand_as(changed))
    assert not torch.equal(changed, batch.observed.rgb)
    one = AugmentClip(SPEC, 0.8, 1.0, 1.0).batch(batch.select([2]), SEEDS[2:3]).observed.rgb
    assert torch.equal(one[0], changed[2])


def test_probabilities_and_acting() -> None:
    batch = clips()
    never, blurs = AugmentClip(SPEC, 0.9, 0, 0), AugmentClip(SPEC, 0.9, 0, 1)
    assert torch.equal(never.batch(batch, SEEDS).observed.rgb, batch.observed.rgb)
    assert blurs.batch(batch, None) is batch
    flat = dataclasses.replace(
        batch.observed, rgb=torch.full_like(batch.observed.rgb.contiguous(), 200)
    )
    still = blurs.batch(dataclasses.replace(batch, observed=flat), SEEDS).observed.rgb
    assert (still == 200).all(), "a blur keeps the brightness"
    half = AugmentClip(SPEC, 0.9, 0.5, 0.0).batch(batch, SEEDS).observed.rgb
    same = [torch.equal(*pair) for pair in zip(half, batch.observed.rgb, strict=True)]
    assert any(same) and not all(same)


def test_refusals() -> None:
    with pytest.raises(ContractError, match="without depth"):
        AugmentClip(SPEC).batch(windows(frames=4), SEEDS)
    for arguments, message in (((0.0,), "share must be"), ((0.9, 2.0), "crop must be")):
        with pytest.raises(ConfigError, match=message):
            AugmentClip(SPEC, *arguments)


def test_limits_of_a_normaliser() -> None:
    """Ranges below 1e-4 are only shifted, their least value to 0."""
    scaling = Scaling("actions", SPEC.action.components[:1], "limits")
    rows = torch.tensor([[1.0, 5.0, 0.5], [3.0, 5.00005, 0.5], [2.0, 5.0, 1.5]])
    scaling.fit([rows])
    expected = torch.tensor([[-1.0, 0.0, -1.0], [1.0, 0.00005, -1.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(scaling.forward(rows), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(scaling.backward(scaling.forward(rows)), rows)
