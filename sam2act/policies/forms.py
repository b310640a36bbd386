"""Shapes, kinds of numbers and devices of what users hand in, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2act.core.specs import PolicySpec
from sam2act.core.types import ContractError, KeyframeBatch, Observation


@dataclass(frozen=True)
class Form:
    """Expected shape (its legend and its numbers) and dtypes of one field."""

    legend: str
    shape: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...]


def check_forms(
    data: Observation | KeyframeBatch, forms: dict[str, Form], spec: PolicySpec
) -> None:
    """Make sure that fields of `data` have the forms that are expected.

    Raises:
        ContractError: names the field, what was expected and what came.
    """
    device = data.rgb.device
    for field, form in forms.items():
        value = getattr(data, field)
        if not isinstance(value, Tensor):
            raise ContractError(f"{field}: expected a tensor, got {type(value).__name__}")
        if tuple(value.shape) != form.shape:
            raise ContractError(
                f"{field}: expected shape {form.legend} = {form.shape}, got "
                f"{tuple(value.shape)}{_shape_hint(form, tuple(value.shape), spec)}"
            )
        if value.dtype not in form.dtypes:
            names = " or ".join(str(dtype) for dtype in form.dtypes)
            raise ContractError(f"{field}: expected {names}, got {value.dtype}")
        if value.device != device:
            raise ContractError(f"{field}: expected on {device} like rgb, got {value.device}")


def _shape_hint(form: Form, shape: tuple[int, ...], spec: PolicySpec) -> str:
    """What a wrong shape most likely means."""
    if "K" not in form.legend or len(shape) != len(form.shape):
        return ""
    cameras = form.legend.count(",", 0, form.legend.index("K"))
    if shape[cameras] != form.shape[cameras]:
        return f"; the cameras are {', '.join(spec.cameras)} in this order"
    wanted = form.shape[cameras + 1 : cameras + 3]
    if "S" in form.legend and shape[cameras + 1 : cameras + 3] != wanted:
        size = wanted[0] if wanted[0] == wanted[1] else f"{wanted[1]} x {wanted[0]}"
        return f"; image_size is {size}: resize the images and scale the intrinsics"
    return ""
