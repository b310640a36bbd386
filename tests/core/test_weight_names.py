"""Prefixes of wrappers, values that are no numbers, and messages about names that do not fit."""

from __future__ import annotations

import pytest
import torch

from sam2act.core.weight_names import (
    WeightsError,
    misfit,
    mismatch,
    prefix_hint,
    require_finite,
    unwrapped,
)
from sam2act.core.wording import listing


def test_at_most_ten_names_then_a_count() -> None:
    assert listing(["b", "a"]) == "b, a"
    assert listing(f"n{i:03}" for i in range(500)).endswith("n009 and 490 more")


@pytest.mark.parametrize(
    "name",
    [
        "module.mvt1.x",
        "_orig_mod.mvt1.x",
        "_orig_mod.module.mvt1.x",
        "module.module._orig_mod.mvt1.x",
        "mvt1._orig_mod.x",
        "mvt1.x",
    ],
)
def test_wrapper_prefixes_are_taken_off(name: str) -> None:
    assert list(unwrapped({name: 1})) == ["mvt1.x"]


def test_a_tensor_with_and_without_prefix_is_ambiguous() -> None:
    with pytest.raises(WeightsError, match=r"mvt1\.x twice"):
        unwrapped({"mvt1.x": 1, "module.mvt1.x": 2})
    assert list(unwrapped({"a.module.x": 1})) == ["a.module.x"]  # a part may have this name


def test_the_prefix_that_explains_a_mismatch_is_named() -> None:
    expected = {f"layers.{i}.weight": torch.zeros(2) for i in range(400)}
    found = {f"model.net.{name}": value for name, value in expected.items()}
    message = misfit(found, expected)
    assert message.startswith("names in the file begin with `model.net.`: take it off")
    assert "400 missing: " in message and "and 390 more" in message and len(message) < 800
    assert "lack the beginning `model.net.`" in misfit(expected, found)
    assert prefix_hint(["x.a", "y.b"], ["q", "r"]) == ""
    assert misfit(expected, expected) == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(3), "x (3,), not (2,)"),
        (torch.zeros(2, dtype=torch.int8), "x int8, not float32"),
        (torch.zeros(2, dtype=torch.complex64), "x complex64, not float32"),
        ("text", "x is no tensor but str"),
        (torch.zeros(2).half(), ""),
        (torch.zeros(2).double(), ""),
    ],
)
def test_values_of_another_kind(value: object, said: str) -> None:
    assert mismatch("x", value, torch.zeros(2)) == said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_no_numbers_are_named(value: float, dtype: torch.dtype) -> None:
    tensors = {f"n{i:02}": torch.ones(3, dtype=dtype) for i in range(14)}
    require_finite(tensors | {"count": torch.tensor(3), "empty": torch.zeros(0)})
    for i in range(12):
        tensors[f"n{i:02}"][1] = value
    with pytest.raises(WeightsError, match=r"12 tensors hold NaN.*n00, .*n09 and 2 more$"):
        require_finite(tensors)


def test_shared_tensors_are_named_once() -> None:
    bad = torch.full((2,), float("nan"))
    with pytest.raises(WeightsError, match=r"1 tensor holds NaN or infinite values: a$"):
        require_finite({"a": bad, "b": bad})
