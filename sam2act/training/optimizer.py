"""The optimisers of the published training, in plain PyTorch.

`ClippedLamb` is what the released configuration runs (`peract.bnb: True`), `Lamb` its alternative.
Both work on lists of tensors, never wait for the device and keep their state in the dtype of the
parameters. Learning-rate schedules live in schedule.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

ESCAPE_RMS = 1e-3  # root mean square below which `zero_norm_escape` lets a tensor move freely
CLASSIC_NORM_LIMIT = 10.0  # largest parameter norm that classic LAMB takes into account
STATE_KEYS = {"step", "exp_avg", "exp_avg_sq"}


class _TensorwiseAdam(torch.optim.Optimizer):
    """Adam moments; subclasses turn them into a step whose length depends on tensor norms."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient.

        Returns:
            the value of `closure`, None without one.

        Raises:
            ValueError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameters in _by_device_and_dtype(group["params"]):
                self._step_bucket(parameters, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores a state saved by the same class.

        Raises:
            ValueError: the state belongs to another optimiser.
        """
        for entry in state_dict["state"].values():
            if set(entry) != STATE_KEYS:
                raise ValueError(
                    f"optimizer_state holds {sorted(map(str, entry))} per tensor, but "
                    f"{type(self).__name__} needs {sorted(STATE_KEYS)}; it was saved by another "
                    "optimiser: set peract.optimizer_type and peract.bnb as in that run, or load "
                    "the weights only"
                )
        super().load_state_dict(state_dict)

    def _step_bucket(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        states = [self._state_of(parameter) for parameter in parameters]
        for state in states:
            state["step"] += 1
        gradients = [_dense_gradient(parameter) for parameter in parameters]
        means = [state["exp_avg"] for state in states]
        squares = [state["exp_avg_sq"] for state in states]
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        self._move(parameters, means, squares, [state["step"] for state in states], group)

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _move(
        self,
        parameters: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[int],
        group: dict[str, Any],
    ) -> None:
        raise NotImplementedError


class ClippedLamb(_TensorwiseAdam):
    """Adam whose step per tensor is at most as long as the tensor itself.

    The published choice (`peract.optimizer_type: lamb`, `peract.bnb: True`): bias-corrected Adam
    update u, scaled by min(1, ||p|| / ||u||); decoupled weight decay multiplies p after the step.
    A tensor of norm 0 never moves, as published; `zero_norm_escape` replaces its norm by
    max(||p||, 1e-3 * sqrt(numel)), which differs from the published training.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: acts on every tensor that has a gradient, biases included.
        zero_norm_escape: let tensors of norm (near) 0 move.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        zero_norm_escape: bool = False,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "zero_norm_escape": zero_norm_escape,
        }
        super().__init__(params, defaults)

    def _move(
        self,
        parameters: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[int],
        group: dict[str, Any],
    ) -> None:
        beta1, beta2 = group["betas"]
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, [(1 - beta2**step) ** 0.5 for step in steps])
        torch._foreach_add_(denominators, group["eps"])
        updates = torch._foreach_div(means, [1 - beta1**step for step in steps])
        torch._foreach_div_(updates, denominators)

        norms = list(torch._foreach_norm(parameters))
        if group["zero_norm_escape"]:
            floors = [ESCAPE_RMS * parameter.numel() ** 0.5 for parameter in parameters]
            torch._foreach_clamp_min_(norms, floors)
        limits = torch.stack(norms)
        lengths = torch.stack(torch._foreach_norm(updates))
        scales = torch.where(lengths <= limits, torch.ones_like(lengths), limits / lengths)

        # p <- (p - lr * scale * u) * (1 - lr * decay), gathered so that p is rounded only once.
        decay = group["lr"] * group["weight_decay"]
        scales *= group["lr"] * (1 - decay)
        torch._foreach_mul_(updates, list(scales.unbind()))
        if decay:
            torch._foreach_add_(updates, parameters, alpha=decay)
        torch._foreach_sub_(parameters, updates)


class Lamb(_TensorwiseAdam):
    """LAMB without bias correction, with the parameter norm cut at 10.

    The published alternative (`peract.bnb: False`): u = m / (sqrt(v) + eps) + weight_decay * p and
    p <- p - lr * min(||p||, 10) / ||u|| * u, where the ratio is 1 if either norm is 0.

    Args:
        params: tensors or parameter groups.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: part of the update of every tensor that has a gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        _check(lr, betas, eps, weight_decay)
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def _move(
        self,
        parameters: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        steps: list[int],
        group: dict[str, Any],
    ) -> None:
        updates = torch._foreach_sqrt(squares)
        torch._foreach_add_(updates, group["eps"])
        updates = torch._foreach_div(means, updates)
        if group["weight_decay"]:
            torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])

        weights = torch.stack(torch._foreach_norm(parameters)).clamp(max=CLASSIC_NORM_LIMIT)
        lengths = torch.stack(torch._foreach_norm(updates))
        usable = (weights > 0) & (lengths > 0)
        ratios = torch.where(usable, weights / lengths, torch.ones_like(lengths))

        torch._foreach_mul_(updates, list(ratios.unbind()))
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def build_optimizer(
    parameters: Iterable[Any],
    *,
    optimizer_type: str,
    bnb: bool,
    lr: float,
    betas: Sequence[float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    zero_norm_escape: bool = False,
) -> torch.optim.Optimizer:
    """The optimiser named by `peract.optimizer_type` and `peract.bnb`.

    Args:
        parameters: tensors or parameter groups; a group may carry `lr_scale`, which the schedule
            multiplies into its rate.
        optimizer_type: lamb, adam (L2 penalty in the gradient) or adamw (decoupled decay).
        bnb: with lamb: True = `ClippedLamb`, False = `Lamb`; otherwise without effect.
        lr: learning rate of a group without `lr_scale`.
        betas: decay of the two moments.
        weight_decay: see the classes.
        zero_norm_escape: see `ClippedLamb`; without effect elsewhere.

    Raises:
        ValueError: unknown `optimizer_type`, or a value out of range.
    """
    if len(betas) != 2:
        raise ValueError(f"peract.betas needs two values, got {tuple(betas)}")
    pair = (float(betas[0]), float(betas[1]))
    if optimizer_type == "lamb" and bnb:
        return ClippedLamb(
            parameters, lr, betas=pair, weight_decay=weight_decay, zero_norm_escape=zero_norm_escape
        )
    if optimizer_type == "lamb":
        return Lamb(parameters, lr, betas=pair, weight_decay=weight_decay)
    if optimizer_type == "adam":
        return torch.optim.Adam(parameters, lr, betas=pair, weight_decay=weight_decay, foreach=True)
    if optimizer_type == "adamw":
        return torch.optim.AdamW(
            parameters, lr, betas=pair, weight_decay=weight_decay, foreach=True
        )
    raise ValueError(f"peract.optimizer_type: {optimizer_type!r} is not one of lamb, adam, adamw")


def _check(lr: float, betas: Sequence[float], eps: float, weight_decay: float) -> None:
    if lr < 0 or eps < 0 or weight_decay < 0:
        raise ValueError(f"lr {lr}, eps {eps} and weight_decay {weight_decay} must not be negative")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas needs two values in [0, 1), got {tuple(betas)}")


def _by_device_and_dtype(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """The parameters that have a gradient, in lists that one call can treat."""
    buckets: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            buckets[parameter.device, parameter.dtype].append(parameter)
    return list(buckets.values())


def _dense_gradient(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    if gradient is None or gradient.is_sparse:
        raise ValueError("LAMB needs dense gradients; build embeddings with sparse=False")
    return gradient
