"""Pictures upside down, and mirrors in the picture."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sam2act.core.registry import TRANSFORMS
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import ContractError, Observation
from sam2act.processing.camera_mounts import mirrors
from sam2act.processing.transforms import Transforms

SPEC = PolicySpec(square_cameras(("camera0",), 0, depth=False), language=None)


def seen(side: int) -> Observation:
    values = torch.arange(side * side, dtype=torch.int64).reshape(side, side) % 200 + 1
    rgb = values.to(torch.uint8)[None, None, None, ..., None].expand(1, 2, 1, side, side, 3)
    return Observation(rgb=rgb, proprioception=torch.zeros(1, 2, 0), cameras=("camera0",))


def test_rows_from_below() -> None:
    flip = TRANSFORMS.get("flip_rows")(SPEC)
    turned = flip.observation(seen(8))
    assert torch.equal(turned.rgb[..., 0, :, :], seen(8).rgb[..., 7, :, :])
    assert torch.equal(flip.observation(turned).rgb, seen(8).rgb)


def test_mirrors_lie_below_the_middle_on_both_sides() -> None:
    hidden = mirrors(224, 224)
    assert torch.equal(hidden, hidden.flip(1))
    assert not hidden[:112].any() and not hidden[:, 56:168].any()
    # A mirror is 0.2 of the height wide at most, and 0.35 high.
    assert 0.06 < hidden.float().mean() < 0.12
    assert hidden[155, 25] and hidden[155, 198] and hidden[155, 0] and not hidden[220, 25]


def test_mirrors_are_black_and_nothing_else_changes() -> None:
    (masked,) = (Transforms(("mask_mirror",), SPEC).observation(seen(224)).rgb[0, 0],)
    hidden = mirrors(224, 224)
    assert (masked[0][hidden] == 0).all()
    assert torch.equal(masked[0][~hidden], seen(224).rgb[0, 0, 0][~hidden])


def test_depth_is_refused() -> None:
    with_depth = dataclasses.replace(seen(8), depth=torch.zeros(1, 2, 1, 8, 8))
    with pytest.raises(ContractError, match="flip_rows: changes colours"):
        TRANSFORMS.get("flip_rows")(SPEC).observation(with_depth)
