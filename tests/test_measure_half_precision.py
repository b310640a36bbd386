"""The figures about half precision in docs/training.md come from a script that measures."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from scripts.benchmarks import measure_half_precision as script


def test_flat_maps_move_and_peaked_ones_hardly() -> None:
    generator = torch.Generator().manual_seed(0)
    share, distances = script.position_changes("flat", 40, 0.02, generator)
    assert share > 0 and share == pytest.approx(float((distances > 0).float().mean()))
    share, distances = script.position_changes("peaked", 10, 0.0, generator)
    assert distances.shape == (10,) and distances.max() < 10  # millimetres


@pytest.mark.skipif(find_spec("open_clip") is None, reason="open_clip is absent (extra clip)")
def test_half_precision_of_clip_is_a_small_difference() -> None:
    differences = script.feature_changes("", 0)
    assert len(differences) == len(script.TEXTS)
    assert all(1e-5 < difference < 1e-2 for difference in differences)
