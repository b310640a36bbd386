"""Every implementation of the renderer that can run here."""

from __future__ import annotations

import pytest
import torch

from sam2act.rendering.backends import select_backend


@pytest.fixture(params=["torch", "c", "triton"])
def backend(request: pytest.FixtureRequest) -> str:
    """Name of a backend that draws CPU tensors; Triton does so in its interpreter."""
    return available(request.param)


@pytest.fixture(params=["c", "triton"])
def compiled_backend(request: pytest.FixtureRequest) -> str:
    """The same without the torch path, which the others are compared with."""
    return available(request.param)


def available(name: str) -> str:
    """The name, if it works here."""
    try:
        select_backend(name, torch.zeros(1))
    except ValueError as error:
        pytest.skip(str(error))
    return name
