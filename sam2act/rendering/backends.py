"""Which implementation draws the points.

All draw the same, up to the rounding of mean depths, but the soft ones: "soft" is the renderer of
RVT, "pytorch3d" the same with PyTorch3D's own rasteriser, to compare.

A backend is a module with the functions `draw`, `largest_coordinate` and `center_depth` of
`splat_torch`, named in the registry `RENDERERS`. One that does not work everywhere also has
`prepare(device)`, which raises if it does not work here on this kind of device.
"""

from __future__ import annotations

import functools
import logging
from types import ModuleType

import torch
from torch import Tensor

from sam2act.core.errors import require
from sam2act.core.registry import RENDERERS
from sam2act.rendering import splat_torch

LOGGER = logging.getLogger(__name__)
SOFT = "soft"
COMPARED = "pytorch3d"  # draws the same as `SOFT`
AUTO = "auto"
FASTEST = {"cpu": "c", "cuda": "triton"}  # by kind of device


def backend_names() -> tuple[str, ...]:
    """Values of the config key `renderer.backend`."""
    return (AUTO, *RENDERERS.names())


def check_backend(name: str) -> None:
    """Make sure that a backend has this name.

    Raises:
        ConfigError: none has; the message lists the names.
    """
    known = backend_names()
    require(name in known, f"renderer.backend: {name!r} is not one of {', '.join(known)}")


def select_backend(name: str, points: Tensor) -> ModuleType:
    """The backend called `name`; "auto" takes the fastest that works on the device of `points`.

    Raises:
        ValueError: no backend has this name, or the one asked for does not work here.
    """
    if name == "torch":
        return splat_torch
    if name == AUTO:
        # Calls into C break a compiled graph; the torch path becomes part of it.
        if torch.compiler.is_compiling():
            return splat_torch
        return _fastest(points.device.type)
    check_backend(name)
    backend, problem = _examined(name, points.device.type)
    if backend is None:
        raise ValueError(f"renderer.backend: {name} does not work here: {problem}; use auto")
    return backend


def works(name: str, device: str) -> bool:
    """Whether the optional backend `name` works here on this kind of device."""
    return _examined(name, device)[0] is not None


@functools.cache
def _fastest(device: str) -> ModuleType:
    name = FASTEST.get(device, "torch")
    if name == "torch":
        return splat_torch
    backend, problem = _examined(name, device)
    if backend is None:
        LOGGER.info("renderer: slower torch path instead of %s (%s)", name, problem)
    return backend or splat_torch


@functools.cache
def _examined(name: str, device: str) -> tuple[ModuleType | None, str]:
    """An optional backend, or None and why it does not work."""
    try:
        backend = RENDERERS.get(name)
        if hasattr(backend, "prepare"):
            backend.prepare(device)
    except (ImportError, RuntimeError) as error:
        return None, str(error)
    return backend, ""
