"""What golden tests of networks share: the deterministic weights, and comparing with a file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sam2act.policies.multiview.two_stage import TwoStageNetwork
from sam2act.policies.sam2act.published_weights import export_state, import_state
from tests.golden_files import GoldenFile, find_part, golden_value


def load_golden_weights(network: TwoStageNetwork, salt: str) -> None:
    """Replace every weight of `network` by the value of its released name."""
    state = export_state(network, {})
    filled: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        canonical = name.removeprefix("mvt1.").removeprefix("mvt2.")
        if canonical.startswith("sam2.") and canonical in filled:
            filled[name] = filled[canonical]
            continue
        new = golden_value(name, tuple(value.shape), salt)
        filled[name] = value if new is None else torch.as_tensor(new)
    import_state(network, {}, filled)


def tensors(file: GoldenFile) -> dict[str, Tensor]:
    """All arrays of a file."""
    return {name: torch.as_tensor(value) for name, value in file.arrays().items()}


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal up to an absolute tolerance; 0 = equal."""
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def assert_stored(
    stored: Mapping[str, Tensor], name: str, actual: Tensor, tolerance: float
) -> None:
    """`actual` is the array `name`, as far as the file holds it."""
    index, expected = find_part(stored, name)
    assert_close(actual[index], expected, tolerance)
