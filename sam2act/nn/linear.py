"""The linear layer of all networks: `nn.Linear` with faster products where torch's are slow.

Float32 products of torch on a CPU are MKL's, which on AMD processors are half as fast as those of
oneDNN, which torch carries as well. Under autocast, weights that are not trained are rounded once
instead of in every call.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_PRODUCTS = 2**20  # multiplications below which a call of oneDNN costs more than it saves


class Linear(nn.Linear):
    """y = x W^T + b; parameters and results as `nn.Linear`, up to the order of summation."""

    _rounded: tuple[Any, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if torch.compiler.is_compiling():
            return F.linear(x, self.weight, self.bias)
        if torch.is_autocast_enabled(x.device.type):
            return F.linear(x, self._weight_under_autocast(x.device.type), self.bias)
        if self._suits_onednn(x):
            return onednn_linear(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)

    def _suits_onednn(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() * self.out_features >= LEAST_PRODUCTS
            and torch.backends.mkldnn.is_available()
            and bool(torch.backends.mkldnn.enabled)
        )

    def _weight_under_autocast(self, device: str) -> Tensor:
        """The weight, rounded and kept unless it is being trained (autocast itself keeps those)."""
        weight = self.weight
        is_trained = torch.is_grad_enabled() and weight.requires_grad
        if is_trained or weight.is_inference():  # of the latter no version is counted
            return weight
        dtype = torch.get_autocast_dtype(device)
        # What is made in inference mode is of no use outside it.
        state = (weight._version, weight.data_ptr(), dtype, torch.is_inference_mode_enabled())
        if self._rounded is None or self._rounded[0] != state:
            self._rounded = (state, weight.detach().to(dtype))
        return self._rounded[1]


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` of float32 CPU tensors by oneDNN, with first derivatives."""
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        # On two axes, so that the result is no view and may be changed in place.
        flat = x.flatten(0, -2)
        product = _OneDnnLinear.apply(flat, weight, bias)  # type: ignore[no-untyped-call]  # torch
        return product.unflatten(0, x.shape[:-1])
    return _product(x, weight, bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    """The operator has no derivatives of its own; they are products of the same kind."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.mT) if needs_x else None,
            _product(gradient.mT, x.mT) if needs_weight else None,
            gradient.sum(dim=0) if needs_bias else None,
        )


@torch.no_grad()
def initialise_linears(module: nn.Module) -> None:
    """Give all linear layers in `module` Glorot weights and zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
