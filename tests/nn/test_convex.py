"""The convex combinations in C against those in torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sam2act.nn import convex
from sam2act.nn.image_encoder import FeaturePyramid
from sam2act.nn.upsampling import CascadedUpsampler, ConvexUpsample


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nothing can be compiled."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    convex.compiled_loops.cache_clear()
    yield
    convex.compiled_loops.cache_clear()


def layers(out_channels: int) -> list[ConvexUpsample]:
    """Two of equal weights: in torch, and in C."""
    torch.manual_seed(0)
    plain, compiled = (ConvexUpsample(5, out_channels, 2, c) for c in (False, True))
    compiled.load_state_dict(plain.state_dict())
    for layer in (plain, compiled):
        layer.weights[2].weight.data *= 200  # weights that differ much
    return [plain, compiled]


def result(layer: ConvexUpsample, x: Tensor) -> tuple[Tensor, ...]:
    """Output, and gradients of the input and of all parameters."""
    x = x.clone().requires_grad_()
    out = layer(x)
    slopes = torch.rand(out.shape, generator=torch.Generator().manual_seed(1))
    return (out, *torch.autograd.grad((out * slopes).sum(), [x, *layer.parameters()]))


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_values_and_gradients_are_those_of_torch(channels: int) -> None:
    plain, compiled = layers(channels)
    x = torch.randn(3, 5, 4, 6)
    assert convex.suits(x)
    for expected, found in zip(result(plain, x), result(compiled, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert compiled(x).is_contiguous(memory_format=torch.channels_last)


def test_far_logits_give_one_neighbour() -> None:
    """Differences of hundreds must not overflow; the taps are in row-major order."""
    values = torch.arange(12.0).view(1, 1, 3, 4)
    logits = torch.zeros(1, 9, 4, 3, 4)
    logits[:, 5] = 1e4  # the right neighbour
    finer = convex.combine(values, logits.flatten(1, 2), 0.1)
    right = torch.nn.functional.pad(values, (0, 1))[..., 1:]
    expected = right.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(finer, expected, rtol=0, atol=1e-30)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    compiled, x, before = layers(16)[1], torch.randn(5, 5, 8, 8), torch.get_num_threads()
    values, logits = compiled.values(x).detach(), compiled.weights(x).detach()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(convex.combine(values, logits, 0.1))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_without_a_compiler_torch_does_it(no_compiler: None) -> None:
    plain, compiled = layers(3)
    x = torch.randn(2, 5, 4, 4)
    assert not convex.suits(x)
    for expected, found in zip(result(plain, x), result(compiled, x), strict=True):
        assert torch.equal(found, expected)


def test_other_precision_is_left_to_torch() -> None:
    x = torch.randn(1, 5, 4, 4, dtype=torch.float64)
    plain, compiled = (layer.double() for layer in layers(3))
    assert not convex.suits(x)
    assert torch.equal(compiled(x), plain(x))


def test_the_whole_upsampler_is_the_same_up_to_rounding() -> None:
    torch.manual_seed(2)
    plain, compiled = (CascadedUpsampler(8, (6, 4), 1, 1.0, channels_last=c) for c in (False, True))
    compiled.load_state_dict(plain.state_dict())
    pyramid = FeaturePyramid(torch.randn(2, 4, 16, 16), torch.randn(2, 6, 8, 8), torch.zeros(0))
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(compiled(x, pyramid), plain(x, pyramid), rtol=1e-5, atol=1e-6)
