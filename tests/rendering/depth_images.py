"""How far the centred depths of two backends may lie apart."""

from __future__ import annotations

from torch import Tensor


def assert_depths_close(found: Tensor, expected: Tensor, tolerance: float, backend: str) -> None:
    """Compares centred depth images (..., S, S).

    Triton's sums are exact. Those of the published code are float32 sums over all pixels, taken
    apart afterwards, so that the fewer pixels show something, the further its mean is off.
    """
    allowed = found.new_full(found.shape[:-2], tolerance)
    if backend == "triton":
        shown = (expected != -1).sum(dim=(-2, -1)).clamp(min=1)
        allowed += 2**-22 * found.shape[-2] * found.shape[-1] / shown
    apart = (found - expected).abs().amax(dim=(-2, -1))
    assert (apart <= allowed).all(), f"{apart} exceeds {allowed}"
