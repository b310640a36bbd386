"""Learning-rate schedule: shape, groups, saved form and resume."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch

from sam2act.training.schedule import WarmupCosine, learning_rate


def build(
    *, base: float = 0.4, warmup: int = 5, total: int = 20, cosine: bool = True, **group: Any
) -> tuple[torch.optim.Optimizer, WarmupCosine]:
    parameters = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], **group}]
    optimizer = torch.optim.SGD(groups, lr=123.0)
    schedule = WarmupCosine(
        optimizer, base=base, warmup_steps=warmup, total_steps=total, cosine=cosine
    )
    return optimizer, schedule


def rates(optimizer: torch.optim.Optimizer, schedule: WarmupCosine, count: int) -> list[float]:
    result = []
    for _ in range(count):
        result.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return result


def test_warm_up_rises_linearly_and_the_cosine_falls() -> None:
    values = [learning_rate(k, 1.0, 10, 100, True) for k in range(100)]
    assert values[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert values[10] == 1.0
    assert all(left > right for left, right in zip(values[10:], values[11:], strict=False))
    assert values[-1] > 0.01


def test_period_is_the_whole_run_and_ends_at_one_percent() -> None:
    assert learning_rate(10 + 100, 3.0, 10, 100, True) == pytest.approx(0.03)
    assert learning_rate(10 + 50, 3.0, 10, 100, True) == pytest.approx(3.0 * 0.505)


@pytest.mark.parametrize("cosine", [True, False])
def test_no_warm_up_starts_at_the_base_rate(cosine: bool) -> None:
    assert learning_rate(0, 0.7, 0, 10, cosine) == 0.7


def test_without_cosine_the_rate_stays() -> None:
    assert {learning_rate(k, 0.7, 3, 10, False) for k in range(3, 50)} == {0.7}
    assert learning_rate(2, 0.7, 3, 10, False) == pytest.approx(0.7, rel=1e-12)


def test_group_scale_multiplies_every_rate() -> None:
    optimizer, schedule = build(lr_scale=0.25)
    for _ in range(12):
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(0.25 * first, rel=1e-12)
        schedule.step()


def test_saved_state_has_the_published_attributes() -> None:
    _, schedule = build()
    published = {
        "multiplier",
        "total_epoch",
        "finished",
        "base_lrs",
        "last_epoch",
        "_step_count",
        "_last_lr",
        "after_scheduler_state_dict",
    }
    assert published <= set(schedule.state_dict())


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("stop", [0, 1, 4, 5, 6, 13])
@pytest.mark.parametrize("warmup", [0, 5])
def test_resume_continues_with_the_same_rates(stop: int, cosine: bool, warmup: int) -> None:
    optimizer, schedule = build(cosine=cosine, warmup=warmup, lr_scale=0.5)
    rates(optimizer, schedule, stop)
    other, resumed = build(cosine=cosine, warmup=warmup, lr_scale=0.5)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.next_step == schedule.next_step
    assert rates(other, resumed, 8) == rates(optimizer, schedule, 8)


class ChainedScheduler:
    """A warm-up around torch's cosine scheduler, saved attribute by attribute.

    Written from the documented saved form; `calls_before_first` says how often its counter has
    advanced before the first update, which loading must not depend on.
    """

    def __init__(self, base: float, warmup: int, total: int, calls_before_first: int) -> None:
        self.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
        self.inner = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, T_max=total, eta_min=base / 100
        )
        self.warmup, self.base, self.offset = warmup, base, calls_before_first
        self.updates, self.finished = 0, False
        self.rate = base / warmup

    def step(self) -> None:
        self.updates += 1
        if self.finished:
            self.optimizer.step()
            self.inner.step()
            self.rate = self.inner.get_last_lr()[0]
        elif self.updates >= self.warmup:
            self.finished, self.rate = True, self.base
        else:
            self.rate = self.base * (self.updates + 1) / self.warmup

    def state_dict(self) -> dict[str, Any]:
        return {
            "multiplier": 1,
            "total_epoch": self.warmup,
            "finished": self.finished,
            "base_lrs": [self.base],
            "last_epoch": min(self.updates, self.warmup) + self.offset,
            "_step_count": min(self.updates, self.warmup) + self.offset + 1,
            "_last_lr": [self.rate],
            "after_scheduler_state_dict": {
                key: value for key, value in self.inner.state_dict().items()
            },
        }


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("stop", [0, 2, 4, 5, 6, 11])
def test_published_state_is_continued(stop: int, offset: int) -> None:
    published = ChainedScheduler(0.4, 5, 20, offset)
    for _ in range(stop):
        published.step()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = WarmupCosine(optimizer, base=0.4, warmup_steps=5, total_steps=20, cosine=True)
    schedule.load_state_dict(published.state_dict())
    for _ in range(8):
        rate = optimizer.param_groups[0]["lr"]
        assert math.isclose(rate, published.rate, rel_tol=1e-9)
        published.step()
        schedule.step()


def test_saved_lengths_win_and_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    optimizer, schedule = build(total=20)
    rates(optimizer, schedule, 9)
    _, other = build(total=30)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict(schedule.state_dict())
    assert "total_steps 20 of the checkpoint replaces 30" in caplog.text
    assert other.last_lrs() == schedule.last_lrs()


def test_bad_states_and_values_are_refused() -> None:
    _, schedule = build()
    with pytest.raises(ValueError, match="lr_sched_state lacks"):
        schedule.load_state_dict({"last_epoch": 3})
    single = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    one_group = WarmupCosine(single, base=1.0, warmup_steps=0, total_steps=5, cosine=True)
    with pytest.raises(ValueError, match="parameter groups"):
        one_group.load_state_dict(schedule.state_dict())
    with pytest.raises(ValueError, match="warmup_steps"):
        build(warmup=-1)
    with pytest.raises(ValueError, match="at least one update"):
        build(total=0)
