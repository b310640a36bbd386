"""Every implementation of the renderer that can run here."""

from __future__ import annotations

import pytest
import torch

from sam2act.rendering.backends import select_backend


@pytest.fixture(params=["torch", "c", "triton"])
def backend(request: pytest.FixtureRequest) -> str:
    """Name of a backend that draws CPU tensors; Triton does so in its interpreter."""
    try:
        select_backend(request.param, torch.zeros(1))
    except ValueError as error:
        pytest.skip(str(error))
    return request.param
