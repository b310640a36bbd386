"""Whole updates of the trainer: loss, gradient scaling, clipped LAMB and schedule.

Stored values of the published code, where there are any; else its formulas in numpy. Losses are
chosen by the test, everything after them is what training runs under float16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from sam2act.policies.multiview.heads import ActionLogits
from sam2act.policies.multiview.losses import action_losses, heatmap_cross_entropy
from sam2act.rendering.heatmaps import gaussian_heatmaps
from tests.golden_files import GoldenFile, golden
from tests.training.scripted_update import (
    SCALE,
    PublishedUpdate,
    ScriptedTrainer,
    overflowing,
)
from tests.training.test_golden_optimizers import stored_trajectory

FILE = "data_open_drawer.json"
CONSTANT_RATE = "peract.warmup_steps 0 peract.lr_cos_dec False train_iter 20"
SIGMA = 1.5  # published gt_hm_sigma, of which the stored targets are made
LOSS_ARRAYS = ("trans", "rot", "grip", "coll")


def with_gradients(parameters: list[Parameter], gradients: list[np.ndarray]) -> Tensor:
    """A loss with these gradients."""
    pairs = zip(parameters, gradients, strict=True)
    return sum(((p * torch.as_tensor(g)).sum() for p, g in pairs), torch.zeros(()))


@golden(FILE)
def test_updates_with_a_skipped_one_follow_the_stored_trajectory(
    golden_file: GoldenFile, tmp_path: Path
) -> None:
    settings = golden_file.json()["bnb_lamb"]
    initial, gradients, results = stored_trajectory(golden_file, "bnblamb")
    parameters = [Parameter(torch.tensor(value)) for value in initial]
    losses: list[Callable[[], Tensor]] = [partial(with_gradients, parameters, g) for g in gradients]
    opts = f"{CONSTANT_RATE} peract.lambda_weight_l2 {settings['weight_decay']} "
    opts += "peract.betas [{},{}]".format(*settings["betas"])
    losses.insert(1, overflowing(losses[1]))
    run = ScriptedTrainer(parameters, losses, lr=settings["lr"], opts=opts, folder=tmp_path)
    assert run.scale == SCALE
    run.update()
    assert_equal_to(parameters, results[0])
    assert run.scale == SCALE
    before = [parameter.detach().clone() for parameter in parameters]
    run.update()  # overflows
    assert all(map(torch.equal, before, [parameter.detach() for parameter in parameters]))
    for values in results[1:]:
        assert run.scale == SCALE / 2
        run.update()
        assert_equal_to(parameters, values)
    assert len(run.rates) == len(gradients)
    assert run.trainer.updater.schedule.next_step == run.trainer.updater.state.step == len(losses)


def assert_equal_to(parameters: list[Parameter], values: list[np.ndarray]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), value, atol=1e-6, rtol=0)


def test_scale_doubles_after_two_thousand_good_updates(tmp_path: Path) -> None:
    parameter = Parameter(torch.ones(2))
    run = ScriptedTrainer(
        [parameter], [parameter.sum] * 3, lr=0.01, opts=CONSTANT_RATE, folder=tmp_path
    )
    scaler = run.trainer.updater.scaler
    run.update()
    state = scaler.state_dict()
    assert (state["growth_factor"], state["backoff_factor"]) == (2.0, 0.5)
    assert (state["growth_interval"], state["_growth_tracker"]) == (2000, 1)
    scaler.load_state_dict(state | {"_growth_tracker": 1998})
    run.update()
    assert run.scale == SCALE
    run.update()
    assert run.scale == 2 * SCALE


@golden(FILE)
def test_skipped_updates_count_in_the_stored_schedule(
    golden_file: GoldenFile, tmp_path: Path
) -> None:
    cases = [v for v in golden_file.json()["lr_schedule"].values() if isinstance(v, dict)]
    compared = 0
    for case in cases:
        rates = {int(k): value for k, value in case["values"].items() if int(k) < case["total"]}
        count = next(k for k in range(len(rates) + 1) if k not in rates)  # without gaps
        skipped = {k for k in (1, case["warmup"] + 1) if k < count}
        parameter = Parameter(torch.full((4,), 100.0))
        losses: list[Callable[[], Tensor]] = [parameter.sum] * count
        for k in skipped:
            losses[k] = overflowing(parameter.sum)
        opts = f"peract.warmup_steps {case['warmup']} peract.lr_cos_dec True "
        opts += f"train_iter {2 * case['total']} peract.lambda_weight_l2 0"
        run = ScriptedTrainer([parameter], losses, lr=case["base_lr"], opts=opts, folder=tmp_path)
        for k in range(count):
            before = parameter.detach().clone()
            run.update()
            moved = 0.0 if k in skipped else rates[k]  # a constant gradient moves by the rate
            torch.testing.assert_close(
                before - parameter.detach(), torch.full((4,), moved), atol=3e-5, rtol=0
            )
        used = [rates[k] for k in range(count) if k not in skipped]
        assert run.rates == pytest.approx(used, rel=1e-9, abs=0)
        compared += len(used) if skipped else 0
    assert compared > 2, "no case of the file tells the rates of consecutive updates"


def stage_one_loss(logits: list[Tensor], arrays: dict[str, Any], stored: dict[str, Any]) -> Tensor:
    """The project's loss of the stored logits."""
    trans, rotation, gripper, collision = logits
    batch, views, size = trans.shape[:3]
    pixels = torch.as_tensor(arrays["loss_pts_xy"]).view(batch, views, 2)
    labels = (stored[name] for name in ("rot_targets", "grip_targets", "collision_targets"))
    action = ActionLogits(rotation.unflatten(1, (3, -1)), gripper, collision)
    terms = action_losses(action, *(torch.as_tensor(value) for value in labels))
    heatmaps = heatmap_cross_entropy(trans, gaussian_heatmaps(pixels, size, SIGMA)).mean()
    return heatmaps + torch.stack(list(terms.values())).sum()


def published_gradients(
    logits: list[np.ndarray], arrays: dict[str, Any], stored: dict[str, Any]
) -> list[np.ndarray]:
    """Derivative of the published loss: soft-max minus target, over the number of means."""
    trans, rotation, gripper, collision = (value.astype(np.float64) for value in logits)
    batch, views, size = trans.shape[:3]
    column, row = arrays["loss_pts_xy"].astype(np.float64).T[:, :, None, None]
    at = np.arange(size)
    squared = (at[None, None, :] - column) ** 2 + (at[None, :, None] - row) ** 2
    target = np.exp(-squared / (2 * SIGMA**2))
    target[target < np.exp(-4.5)] = 0
    target /= target.sum((1, 2), keepdims=True) + 1e-6
    target = target.reshape(trans.shape)
    total = target.sum((2, 3), keepdims=True)  # 1, or 0 where the point is outside
    probability = softmax(trans.reshape(batch, views, -1)).reshape(trans.shape)
    gradients = [(probability * total - target) / (batch * views)]
    turns = rotation.reshape(batch, 3, -1)
    one_hot = np.eye(turns.shape[2])[np.asarray(stored["rot_targets"])]
    gradients.append(((softmax(turns) - one_hot) / batch).reshape(rotation.shape))
    for scores, name in ((gripper, "grip_targets"), (collision, "collision_targets")):
        gradients.append((softmax(scores) - np.eye(2)[stored[name]]) / batch)
    return gradients


def softmax(values: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


@golden(FILE)
def test_update_of_the_stored_loss_follows_the_published_formulas(
    golden_file: GoldenFile, tmp_path: Path
) -> None:
    stored = golden_file.json()["loss"]
    arrays = golden_file.sibling(golden_file.path.stem + ".npz").arrays()
    initial = [arrays[f"loss_{name}_logits"] for name in LOSS_ARRAYS]
    parameters = [Parameter(torch.tensor(value)) for value in initial]
    loss = partial(stage_one_loss, parameters, arrays, stored)
    opts = "peract.warmup_steps 2 train_iter 20"  # the rest as released: lamb, bnb, decay, amp
    run = ScriptedTrainer(
        parameters, [loss, overflowing(loss), loss], lr=0.1, opts=opts, folder=tmp_path
    )
    published = [PublishedUpdate(value) for value in initial]
    assert float(run.update().total) == pytest.approx(stored["values"]["total_loss"], abs=1e-4)
    run.update()  # skipped; its rate, the full one, is lost
    run.update()
    expected_rates = [0.1 * 1 / 2, 0.1]  # of updates 0 and 2: end of the warm-up, cosine begins
    assert run.rates == pytest.approx(expected_rates)
    for rate, found in zip(expected_rates, run.gradients, strict=True):
        values = [one.value for one in published]
        for one, gradient, mine in zip(
            published, published_gradients(values, arrays, stored), found, strict=True
        ):
            np.testing.assert_allclose(mine, gradient, atol=1e-6, rtol=0)
            one.step(gradient, rate)
    for one, parameter in zip(published, parameters, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), one.value, atol=3e-6, rtol=0)
