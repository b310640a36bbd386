"""Stored results of the published optimisers and of the published schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sam2act.training.optimizer import build_optimizer
from sam2act.training.schedule import WarmupCosine, learning_rate
from tests.golden_files import GoldenFile, golden

TOLERANCE = 1e-6  # absolute; float32 arithmetic in another order
FILE = "data_open_drawer.json"


def stored_trajectory(
    golden_file: GoldenFile, prefix: str
) -> tuple[list[np.ndarray], list[list[np.ndarray]], list[list[np.ndarray]]]:
    """Initial values [i], gradients [step][i] and results [step][i] of the stored run."""
    arrays = golden_file.sibling(golden_file.path.stem + ".npz").arrays()
    count = sum(name.startswith("opt_p") and name.endswith("_init") for name in arrays)
    steps = sum(name.startswith("opt_g0_step") for name in arrays)
    assert count > 0 and steps > 0
    initial = [arrays[f"opt_p{i}_init"] for i in range(count)]
    gradients = [[arrays[f"opt_g{i}_step{k}"] for i in range(count)] for k in range(steps)]
    results = [[arrays[f"opt_{prefix}_p{i}_after{k}"] for i in range(count)] for k in range(steps)]
    return initial, gradients, results


def replay(
    golden_file: GoldenFile, prefix: str, build: Callable[[list[torch.Tensor]], Any]
) -> list[torch.Tensor]:
    """Runs the stored gradients, compares after every step and gives the final parameters."""
    initial, gradients, results = stored_trajectory(golden_file, prefix)
    parameters = [torch.tensor(value, requires_grad=True) for value in initial]
    optimizer = build(parameters)
    for step_gradients, expected in zip(gradients, results, strict=True):
        for parameter, gradient in zip(parameters, step_gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
        for parameter, value in zip(parameters, expected, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), value, atol=TOLERANCE, rtol=0)
    return parameters


@golden(FILE)
@pytest.mark.parametrize(
    ("key", "prefix", "bnb"), [("bnb_lamb", "bnblamb", True), ("lamb", "lamb", False)]
)
def test_optimizer_follows_stored_trajectory(
    golden_file: GoldenFile, key: str, prefix: str, bnb: bool
) -> None:
    settings = golden_file.json()[key]

    def build(parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer = build_optimizer(
            parameters,
            optimizer_type="lamb",
            bnb=bnb,
            lr=settings["lr"],
            betas=settings["betas"],
            weight_decay=settings["weight_decay"],
        )
        assert optimizer.param_groups[0]["eps"] == settings["eps"]
        return optimizer

    replay(golden_file, prefix, build)


@golden(FILE)
def test_zero_tensor_stays_zero_only_under_the_published_variant(golden_file: GoldenFile) -> None:
    initial, gradients, _ = stored_trajectory(golden_file, "bnblamb")
    zero = [i for i, value in enumerate(initial) if not value.any()]
    assert zero, "the stored case holds no zero tensor"
    for options, moves in (
        ({"bnb": True}, False),
        ({"bnb": True, "zero_norm_escape": True}, True),
        ({"bnb": False}, True),
    ):
        parameters = [torch.tensor(value, requires_grad=True) for value in initial]
        optimizer = build_optimizer(parameters, optimizer_type="lamb", lr=0.01, **options)
        for step_gradients in gradients:
            for parameter, gradient in zip(parameters, step_gradients, strict=True):
                parameter.grad = torch.tensor(gradient)
            optimizer.step()
        assert all(bool(parameters[i].any()) == moves for i in zero), options


@golden(FILE)
def test_learning_rate_table(golden_file: GoldenFile) -> None:
    cases = {k: v for k, v in golden_file.json()["lr_schedule"].items() if isinstance(v, dict)}
    assert cases
    for case in cases.values():
        for step, expected in case["values"].items():
            rate = learning_rate(int(step), case["base_lr"], case["warmup"], case["total"], True)
            assert rate == pytest.approx(expected, rel=1e-9, abs=0), step


@golden(FILE)
def test_scheduler_sets_the_stored_rates(golden_file: GoldenFile) -> None:
    cases = [v for v in golden_file.json()["lr_schedule"].values() if isinstance(v, dict)]
    for case in cases:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = WarmupCosine(
            optimizer,
            base=case["base_lr"],
            warmup_steps=case["warmup"],
            total_steps=case["total"],
            cosine=True,
        )
        for step in range(min(3000, max(map(int, case["values"])) + 1)):
            if str(step) in case["values"]:
                expected = pytest.approx(case["values"][str(step)], rel=1e-9, abs=0)
                assert optimizer.param_groups[0]["lr"] == expected
            schedule.step()
