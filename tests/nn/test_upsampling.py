"""Convex upsampling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.nn.upsampling import CascadedUpsampler, ConvexUpsample


def test_output_pixel_is_the_stated_combination_of_taps() -> None:
    torch.manual_seed(0)
    layer = ConvexUpsample(3, 2, 1).double()
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    out = layer(x)
    values = F.pad(layer.values(x), (1, 1, 1, 1))
    weights = (0.1 * layer.weights(x)).view(9, 2, 2, 4, 5).softmax(0)
    for i, j, a, b in [(0, 0, 0, 0), (3, 4, 1, 1), (2, 1, 0, 1), (1, 3, 1, 0)]:
        neighbours = values[0, :, i : i + 3, j : j + 3].reshape(2, 9)  # row-major taps
        expected = neighbours @ weights[:, a, b, i, j]
        torch.testing.assert_close(out[0, :, 2 * i + a, 2 * j + b], expected)


def test_values_stay_within_the_neighbourhood() -> None:
    torch.manual_seed(1)
    layer = ConvexUpsample(2, 1, 2)
    x = torch.randn(2, 2, 6, 6)
    low, high = layer.values(x).amin().clamp(max=0), layer.values(x).amax().clamp(min=0)
    assert (layer(x) >= low - 1e-6).all() and (layer(x) <= high + 1e-6).all()


@pytest.mark.parametrize("scale", [1.0, 1.75])
def test_upsampler_reaches_the_rendered_size(scale: float) -> None:
    upsampler = CascadedUpsampler(8, (6, 4), 1, scale)
    pyramid = FeaturePyramid(torch.randn(2, 4, 16, 16), torch.randn(2, 6, 8, 8), torch.zeros(0))
    out = upsampler(torch.randn(2, 8, 4, 4), pyramid)
    assert out.shape == (2, round(32 * scale), round(32 * scale))


def test_upsampler_ignores_autocast() -> None:
    torch.manual_seed(2)
    upsampler = CascadedUpsampler(8, (6, 4), 1, 1.0)
    pyramid = FeaturePyramid(torch.randn(1, 4, 16, 16), torch.randn(1, 6, 8, 8), torch.zeros(0))
    x = torch.randn(1, 8, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = upsampler(x, pyramid)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, upsampler(x, pyramid))
