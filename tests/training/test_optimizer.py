"""Optimisers: equality with a loop over tensors, norm rules, saving and the factory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sam2act.training.optimizer import ClippedLamb, Lamb, build_optimizer

SHAPES = [(), (3,), (5, 4), (2, 3, 2, 2), (1, 7)]
DECAY = 0.1  # large, so that a wrong order shows


def random_tensors(seed: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator) for shape in SHAPES]


def parameters_like(values: list[Tensor]) -> list[Tensor]:
    return [value.clone().requires_grad_() for value in values]


def set_gradients(parameters: list[Tensor], gradients: list[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()


class LoopOracle:
    """Both formulas written out for one tensor at a time in float64."""

    def __init__(self, values: list[Tensor], kind: str, lr: float, escape: bool = False) -> None:
        self.values = [value.double() for value in values]
        self.means = [torch.zeros_like(value) for value in self.values]
        self.squares = [torch.zeros_like(value) for value in self.values]
        self.kind, self.lr, self.escape, self.t = kind, lr, escape, 0

    def step(self, gradients: list[Tensor]) -> None:
        self.t += 1
        for i, gradient in enumerate(gradients):
            g = gradient.double()
            self.means[i] = 0.9 * self.means[i] + 0.1 * g
            self.squares[i] = 0.999 * self.squares[i] + 0.001 * g * g
            one = self.clipped if self.kind == "clipped" else self.classic
            self.values[i] = one(self.values[i], self.means[i], self.squares[i])

    def clipped(self, p: Tensor, m: Tensor, v: Tensor) -> Tensor:
        u = (m / (1 - 0.9**self.t)) / ((v / (1 - 0.999**self.t)).sqrt() + 1e-8)
        limit = float(p.norm())
        if self.escape:
            limit = max(limit, 1e-3 * p.numel() ** 0.5)
        scale = min(1.0, limit / float(u.norm()))
        return (p - self.lr * scale * u) * (1 - self.lr * DECAY)

    def classic(self, p: Tensor, m: Tensor, v: Tensor) -> Tensor:
        u = m / (v.sqrt() + 1e-6) + DECAY * p
        w, n = min(float(p.norm()), 10.0), float(u.norm())
        ratio = w / n if w > 0 and n > 0 else 1.0
        return p - self.lr * ratio * u


@pytest.mark.parametrize("scale", [1e-3, 1.0, 20.0])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("clipped", {"bnb": True}),
        ("clipped", {"bnb": True, "zero_norm_escape": True}),
        ("classic", {"bnb": False}),
    ],
)
def test_steps_equal_the_loop_over_tensors(
    kind: str, options: dict[str, Any], scale: float
) -> None:
    values = random_tensors(0, scale)
    values[1].zero_()
    parameters = parameters_like(values)
    optimizer = build_optimizer(
        parameters, optimizer_type="lamb", lr=0.05, weight_decay=DECAY, **options
    )
    oracle = LoopOracle(values, kind, 0.05, options.get("zero_norm_escape", False))
    for step in range(12):
        gradients = random_tensors(100 + step)
        set_gradients(parameters, gradients)
        optimizer.step()
        oracle.step(gradients)
    for parameter, expected in zip(parameters, oracle.values, strict=True):
        # 12 float32 steps against float64
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-6 * scale)


def test_clipped_step_never_exceeds_the_tensor_norm() -> None:
    values = random_tensors(1, 0.01)
    parameters = parameters_like(values)
    optimizer = ClippedLamb(parameters, lr=1.0)
    set_gradients(parameters, random_tensors(2))
    optimizer.step()
    for before, after in zip(values, parameters, strict=True):
        moved, length = (after.detach() - before).norm(), before.norm()
        torch.testing.assert_close(moved, length, rtol=1e-4, atol=0)


def test_tensor_with_zero_gradient_and_zero_value_stays_finite() -> None:
    for optimizer_class in (ClippedLamb, Lamb):
        parameter = torch.zeros(4, requires_grad=True)
        parameter.grad = torch.zeros(4)
        optimizer_class([parameter], lr=0.1, weight_decay=DECAY).step()
        assert torch.equal(parameter.detach(), torch.zeros(4))


def test_decay_reaches_biases_but_not_tensors_without_gradient() -> None:
    bias, frozen = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    bias.grad = torch.zeros(3)
    optimizer = ClippedLamb([bias, frozen], lr=0.5, weight_decay=DECAY)
    optimizer.step()
    torch.testing.assert_close(bias.detach(), torch.full((3,), 1 - 0.5 * DECAY))
    assert torch.equal(frozen.detach(), torch.ones(3))
    assert not optimizer.state[frozen]


def test_tensor_that_joins_late_has_its_own_bias_correction() -> None:
    early, late = parameters_like([torch.ones(3), torch.ones(3)])
    optimizer = ClippedLamb([early, late], lr=0.01)
    for step in range(3):
        early.grad = torch.full((3,), 0.1 * (step + 1))
        optimizer.step()
    late.grad = torch.full((3,), 0.1)
    optimizer.step()
    # The first bias-corrected Adam update is the sign of the gradient.
    torch.testing.assert_close(late.detach(), torch.full((3,), 0.99), rtol=1e-5, atol=0)


@pytest.mark.parametrize("optimizer_class", [ClippedLamb, Lamb])
def test_saved_state_continues_identically(optimizer_class: Any, tmp_path: Any) -> None:
    parameters = parameters_like(random_tensors(3))
    optimizer = optimizer_class(parameters, lr=0.05, weight_decay=DECAY)
    for step in range(3):
        set_gradients(parameters, random_tensors(step))
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    copies = parameters_like([parameter.detach() for parameter in parameters])
    resumed = optimizer_class(copies, lr=1.0)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for params, opt in ((parameters, optimizer), (copies, resumed)):
        set_gradients(params, random_tensors(9))
        opt.step()
    for left, right in zip(parameters, copies, strict=True):
        assert torch.equal(left, right)


def test_state_of_another_optimizer_is_refused() -> None:
    parameters = parameters_like(random_tensors(4))
    optimizer = ClippedLamb(parameters, lr=0.1)
    set_gradients(parameters, random_tensors(5))
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    for entry in state["state"].values():
        entry["state1"] = entry.pop("exp_avg")
    with pytest.raises(ValueError, match="peract.bnb"):
        optimizer.load_state_dict(state)


class HostReads(TorchFunctionMode):
    """Records calls that would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in {"item", "tolist", "cpu", "numpy", "__bool__", "__float__", "nonzero"}:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer_class", [ClippedLamb, Lamb])
def test_step_reads_nothing_back(optimizer_class: Any) -> None:
    parameters = parameters_like(random_tensors(6))
    set_gradients(parameters, random_tensors(7))
    optimizer = optimizer_class(parameters, lr=0.1, weight_decay=DECAY)
    with HostReads() as reads:
        optimizer.step()
    assert reads.seen == []


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer_class", [ClippedLamb, Lamb])
def test_step_on_cuda_equals_cpu_without_synchronisation(optimizer_class: Any) -> None:
    host = parameters_like(random_tensors(6))
    device = [value.detach().cuda().requires_grad_() for value in host]
    for parameters in (host, device):
        optimizer = optimizer_class(parameters, lr=0.1, weight_decay=DECAY)
        for parameter, gradient in zip(parameters, random_tensors(7), strict=True):
            parameter.grad = gradient.to(parameter.device)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for left, right in zip(host, device, strict=True):
        torch.testing.assert_close(left, right.cpu(), rtol=1e-5, atol=1e-6)


def test_adam_couples_the_decay_and_adamw_does_not() -> None:
    moved = {}
    for kind in ("adam", "adamw"):
        parameter = torch.ones(2, requires_grad=True)
        parameter.grad = torch.zeros(2)
        optimizer = build_optimizer(
            [parameter], optimizer_type=kind, bnb=True, lr=0.1, weight_decay=DECAY
        )
        optimizer.step()
        moved[kind] = 1 - float(parameter.detach()[0])
    # Coupled: the normalised first Adam step has length lr. Decoupled: lr * decay.
    assert moved["adam"] == pytest.approx(0.1, rel=1e-4)
    assert moved["adamw"] == pytest.approx(0.1 * DECAY, rel=1e-4)


def test_wrong_values_name_the_key() -> None:
    parameter = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="peract.optimizer_type"):
        build_optimizer([parameter], optimizer_type="sgd", bnb=True, lr=0.1)
    with pytest.raises(ValueError, match="peract.betas"):
        build_optimizer([parameter], optimizer_type="lamb", bnb=True, lr=0.1, betas=(0.9,))
    with pytest.raises(ValueError, match="betas"):
        ClippedLamb([parameter], lr=0.1, betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="lr"):
        Lamb([parameter], lr=-0.1)


def test_group_rates_are_used() -> None:
    slow, fast = parameters_like([torch.ones(3), torch.ones(3)])
    optimizer = ClippedLamb([{"params": [slow], "lr": 0.01}, {"params": [fast]}], lr=0.1)
    set_gradients([slow, fast], [torch.ones(3), torch.ones(3)])
    optimizer.step()
    torch.testing.assert_close(slow.detach(), torch.full((3,), 0.99))
    torch.testing.assert_close(fast.detach(), torch.full((3,), 0.9))
