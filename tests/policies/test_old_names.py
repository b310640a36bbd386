"""Code that imports the documented names of the time before the rooms."""

from __future__ import annotations

import importlib

import pytest

from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.policy import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_documented_modules_are_found_under_their_old_names(old: str) -> None:
    module = importlib.import_module(f"sam2act.policy.{old}")
    assert module is importlib.import_module(f"sam2act.{MOVED[old]}")


def test_errors_of_configurations_are_found_beside_the_keys() -> None:
    from sam2act.config.schema import ConfigError
    from sam2act.core import errors

    assert ConfigError is errors.ConfigError


def test_names_of_cameras_are_found_as_before() -> None:
    spec = PolicySpec(square_cameras(("front", "wrist"), 8, depth=True), None)
    assert spec.cameras == ("front", "wrist") and spec.cameras.index("wrist") == 1
