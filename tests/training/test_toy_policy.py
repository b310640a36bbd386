"""The trainer with a policy that shares nothing with SAM2Act: windows of images, three layers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sam2act.config.load import load_experiment
from sam2act.core.actions import Component
from sam2act.core.run_folder import RunFolder
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.types import LossOutput, Observation, SampleIdentity, WindowBatch
from sam2act.policies.base import Policy, Seeds, StartData
from sam2act.policies.checkpoint import PolicyBundle, read_checkpoint
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.run_log import RunLog
from sam2act.training.trainer import Trainer, TrainingData
from sam2act.training.validation import ValidationData

WORLD = DistributedContext(rank=0, size=1, device=torch.device("cpu"))
ROWS, HORIZON, NUMBERS, SIDE = 3, 4, 2, 4
HELD_OUT = 5
OPTS = f"bs {ROWS} train_iter {4 * ROWS} log_every 1 peract.warmup_steps 2 peract.lr 3e-3 "
OPTS += "peract.optimizer_type adam peract.ema 0.5"


@dataclass(frozen=True)
class ToyConfig:
    """Keys of the toy."""

    policy: str = "toy"
    width: int = 8


class ToyPolicy(Policy):
    """Chunks of actions from one image and the state, trained with noise on the state."""

    Config = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.pixels = nn.Linear(SIDE * SIDE * 3, config.width)
        self.state = nn.Linear(2, config.width)
        self.head = nn.Linear(config.width, HORIZON * NUMBERS)
        self.started: list[bool] = []

    term_names = ("action_loss",)
    sample_value_names = ("error",)

    @property
    def spec(self) -> PolicySpec:
        cameras = square_cameras(("front",), SIDE, depth=False)
        return PolicySpec(cameras, None, state=(Component("position", NUMBERS, "m"),))

    def on_start(self, data: StartData, *, fresh: bool) -> None:
        assert len(next(data.batches(0, 1))) == ROWS
        self.started.append(fresh)

    def loss(self, batch: WindowBatch, language: Tensor, noise: Seeds) -> LossOutput:
        observation = batch.observation()
        generators = [torch.Generator().manual_seed(int(seed)) for seed in noise.seed]
        moved = torch.stack([torch.randn(2, generator=generator) for generator in generators])
        state = observation.proprioception + (0.01 * moved if self.training else 0)
        hidden = self.pixels(observation.rgb.flatten(1) / 255) + self.state(state)
        predicted = self.head(hidden.relu()).view(-1, HORIZON, NUMBERS)
        errors = (predicted - batch.action).abs().mean(-1)
        each = (errors * batch.valid).sum(1) / batch.valid.sum(1)
        total = each.mean()
        return LossOutput(total, {"action_loss": total.detach()}, {"error": each.detach()})


def window_batch(seed: int, rows: int = ROWS) -> WindowBatch:
    """Windows whose actions follow from what is seen."""
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(rows, 2, generator=generator)
    rgb = torch.randint(0, 255, (rows, 1, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    valid = torch.ones(rows, HORIZON, dtype=torch.bool)
    valid[0, -1] = False
    identities = tuple(SampleIdentity("toy_task", 0, row, row + 1, row) for row in range(rows))
    return WindowBatch(
        instruction=torch.zeros(rows, dtype=torch.int64),
        identities=identities,
        observed=Observation(rgb=rgb, proprioception=state),
        action=state[:, None].expand(-1, HORIZON, -1).clone(),
        valid=valid,
    )


def batches(first: int, count: int) -> Iterator[WindowBatch]:
    return (window_batch(number) for number in range(first, first + count))


def held_out() -> Iterator[tuple[Tensor, WindowBatch]]:
    yield torch.arange(HELD_OUT), window_batch(999, HELD_OUT)


def build(folder: Path, more: str = "") -> Trainer:
    """A trainer of the toy with weights of a fixed seed."""
    torch.manual_seed(0)
    policy = ToyPolicy(ToyConfig())
    bundle = PolicyBundle(policy, load_experiment("", f"{OPTS} {more}"), ToyConfig())
    data = TrainingData(
        batches, ValidationData(HELD_OUT, held_out), torch.zeros(1, 1, 1), {"toy_task": "digest"}
    )
    return Trainer(bundle, data, WORLD, RunFolder(folder, 2))


def run(trainer: Trainer) -> bool:
    """Train to the end, with a log in the run folder."""
    step = trainer.updater.state.step
    log = RunLog(trainer.files, resume_step=step + 1 if step else 0)
    try:
        return trainer.run(log)
    finally:
        log.close()


def rows(files: RunFolder) -> list[dict[str, str]]:
    """The log without what depends on the clock."""
    with files.metrics.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    for row in found:
        row.pop("samples_per_second")
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Trainer:
    """A finished run of three epochs."""
    trainer = build(tmp_path_factory.mktemp("whole"), "epochs 3")
    assert run(trainer)
    return trainer


def test_it_learns_and_logs_what_it_names(whole: Trainer) -> None:
    logged = rows(whole.files)
    losses = [float(row["action_loss"]) for row in logged if row["action_loss"]]
    assert len(losses) == 12 and losses[-1] < losses[0]
    validated = [row for row in logged if row["validation_total_loss"]]
    assert len(validated) == 3
    assert all(row["error_keyframe_2"] for row in logged if row["action_loss"])
    assert all(row[f"validation_error_keyframe_{HELD_OUT - 1}"] for row in validated)
    state = whole.updater.state
    values = [float(row["validation_total_loss"]) for row in validated]
    assert state.step == 12 and state.best_validation == min(values)


def test_its_checkpoints_hold_its_own_names_and_the_stage(whole: Trainer) -> None:
    written = {path.name for path in whole.files.folder.glob("*.pth")}
    assert {"model_plus_0.pth", "model_plus_2.pth", "model_plus_last.pth"} <= written
    content = read_checkpoint(whole.files.last)
    assert set(content["model_state"]) == set(whole.bundle.policy.state_dict())
    extra = content["extra"]
    assert (extra["stage"], extra["network"]) == (2, {"policy": "toy", "width": 8})


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resumed_run_repeats_the_uninterrupted_one(
    whole: Trainer, tmp_path: Path, epoch: int
) -> None:
    resumed = build(tmp_path, "epochs 3")
    resumed.checkpointer.resume(read_checkpoint(whole.files.checkpoint(epoch)))
    assert resumed.updater.state.step == 4 * (epoch + 1) and not resumed.finished
    assert run(resumed)
    assert rows(resumed.files) == [row for row in rows(whole.files) if row in rows(resumed.files)]
    mine, other = (read_checkpoint(trainer.files.last) for trainer in (resumed, whole))
    for name, value in other["model_state"].items():
        assert torch.equal(mine["model_state"][name], value), name
    average = other["extra"]["average"]["average"]
    for name, value in mine["extra"]["average"]["average"].items():
        assert torch.equal(average[name], value), name


def test_its_hook_is_given_the_data(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    trainer.bundle.policy.on_start(trainer.start_data(), fresh=True)
    assert trainer.bundle.policy.started == [True]


def test_single_samples_are_legal_for_a_policy_without_batch_statistics(tmp_path: Path) -> None:
    trainer = build(tmp_path, "bs 1 train_iter 1")
    batch = window_batch(3, rows=1)
    batch.valid[:] = True
    assert trainer.update(iter([batch])).total.isfinite()


def test_a_continued_run_takes_back_the_statistics_of_its_transforms(tmp_path: Path) -> None:
    first = build(tmp_path / "first", "transforms normalise_state")
    first.bundle.transforms.fit_all(lambda: batches(0, 3))
    second = build(tmp_path / "second", "transforms normalise_state")
    assert second.bundle.transforms.needs_fit
    second.checkpointer.resume(first.checkpointer.content(0))
    assert not second.bundle.transforms.needs_fit, "it would be fitted again to other data"
    seen = window_batch(7).observed
    mine, theirs = (trainer.bundle.transforms.observation(seen) for trainer in (second, first))
    assert torch.equal(mine.proprioception, theirs.proprioception)
    assert not torch.equal(mine.proprioception, seen.proprioception)
