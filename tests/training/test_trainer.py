"""The training loop on a tiny run: learning, resuming, guarding, validating."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
import torch

from sam2act.core.types import SampleIdentity
from sam2act.policies.checkpoint import CheckpointError, load_policy, read_checkpoint
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.budget import TrainingBudget, autocast_dtype
from sam2act.training.interrupts import NonFiniteGuard, NonFiniteLossError
from sam2act.training.optimizer_state import to_released
from sam2act.training.start import describe_run
from tests.small_encoder import SMALL_ENCODER
from tests.training import tiny_run

CPU = torch.device("cpu")
WORLD = DistributedContext(rank=0, size=1, device=CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_run.write_demos(folder)
    return folder


def test_training_lowers_the_loss_and_writes_the_run_folder(folder: Path) -> None:
    more = "exp_name learns train_iter 80 epochs 2 peract.transform_augmentation False "
    more += "peract.lr 1.5e-3"
    assert tiny_run.run(folder, more) == 0
    losses = [float(row["total_loss"]) for row in tiny_run.metrics(folder, "learns")]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])
    written = {path.name for path in tiny_run.run_folder(folder, "learns").iterdir()}
    assert {"exp_cfg.yaml", "mvt_cfg.yaml", "args.yaml", "metrics.csv"} <= written
    assert {"model_0.pth", "model_1.pth", "model_last.pth"} <= written
    assert not [name for name in written if name.endswith(".part")]
    costs = costs_of(folder, "learns")
    assert (costs["updates"], costs["total_updates"]) == (40, 40) and costs[
        "memory_of"
    ] == "process"
    state = read_checkpoint(tiny_run.run_folder(folder, "learns") / "model_last.pth")["model_state"]
    assert 0 < costs["trained_parameters"] <= costs["parameters"]
    assert costs["parameters"] <= sum(value.numel() for value in state.values())
    assert costs["peak_memory_bytes"] > 50e6 and costs["seconds"] > 0


def costs_of(folder: Path, name: str) -> dict:
    return json.loads((tiny_run.run_folder(folder, name) / "costs.json").read_text())


def test_same_seed_same_run(folder: Path) -> None:
    for name in ("first", "second"):
        assert tiny_run.run(folder, f"exp_name {name} epochs 1") == 0
    assert tiny_run.metrics(folder, "first") == tiny_run.metrics(folder, "second")
    assert tiny_run.run(folder, "exp_name other epochs 1 seed 1") == 0
    assert tiny_run.metrics(folder, "other") != tiny_run.metrics(folder, "first")


def test_worker_processes_change_nothing(folder: Path) -> None:
    assert tiny_run.run(folder, "exp_name inside epochs 1") == 0
    assert tiny_run.run(folder, "exp_name workers epochs 1 num_workers 2") == 0
    assert tiny_run.metrics(folder, "inside") == tiny_run.metrics(folder, "workers")


@pytest.mark.parametrize("more", ["", "peract.ema 0.9 peract.optimizer_type lamb peract.bnb True"])
def test_resume_in_mid_epoch_repeats_the_uninterrupted_run(
    folder: Path, tmp_path: Path, more: str
) -> None:
    whole = tiny_run.build_trainer(folder, WORLD, more)
    expected = [float(_update(whole)) for _ in range(5)]
    part = tiny_run.build_trainer(folder, WORLD, more, log_dir=tmp_path)
    for _ in range(2):
        _update(part)
    part.save_last(-1)
    resumed = tiny_run.build_trainer(folder, WORLD, more)
    resumed.checkpointer.resume(read_checkpoint(part.files.last))
    assert resumed.updater.state.step == 2
    assert [float(_update(resumed)) for _ in range(3)] == expected[2:]
    assert resumed.updater.schedule.last_lrs() == whole.updater.schedule.last_lrs()
    for mine, other in zip(
        resumed.bundle.policy.parameters(), whole.bundle.policy.parameters(), strict=True
    ):
        assert torch.equal(mine, other)


def _update(trainer) -> torch.Tensor:
    return trainer.update(trainer.data.training(trainer.updater.state.step, 1)).total


def test_gradient_accumulation_averages_micro_batches(folder: Path) -> None:
    trainer = tiny_run.build_trainer(folder, WORLD, "peract.grad_accumulation 2")
    assert trainer.updater.budget.samples_per_update == 8
    assert trainer.updater.budget.learning_rate == pytest.approx(2.5e-4 * 8)
    policy = trainer.bundle.policy.train()
    batches = list(trainer.data.training(0, 2))
    gradients = []
    for number, batch in enumerate(batches):
        policy.zero_grad()
        trainer.updater.loss(batch, number).total.backward()
        gradients.append(policy.network.coarse.transformer.input_projection.weight.grad.clone())
    seen = {}
    trainer.updater.optimizer.register_step_pre_hook(
        lambda *_: seen.update(
            gradient=policy.network.coarse.transformer.input_projection.weight.grad.clone()
        )
    )
    trainer.update(iter(batches))
    torch.testing.assert_close(seen["gradient"], sum(gradients) / 2)


def test_gradient_clipping_limits_the_norm(folder: Path) -> None:
    trainer = tiny_run.build_trainer(folder, WORLD, "peract.grad_clip 0.01")
    _update(trainer)
    gradients = [p.grad for p in trainer.bundle.policy.parameters() if p.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


def test_validation_keeps_the_best_checkpoint(folder: Path) -> None:
    more = "exp_name validated epochs 3 validation.split train validation.demo 1 "
    assert tiny_run.run(folder, more + "validation.demo_start 2") == 0
    rows = [r for r in tiny_run.metrics(folder, "validated") if r["validation_total_loss"]]
    values = [float(row["validation_total_loss"]) for row in rows]
    assert len(values) == 3
    best = read_checkpoint(tiny_run.run_folder(folder, "validated") / "model_best.pth")
    assert best["epoch"] == values.index(min(values))
    assert best["extra"]["best_validation"] == pytest.approx(min(values))


def test_validating_on_trained_episodes_is_refused(folder: Path, capsys) -> None:
    more = "exp_name overlap validation.split train validation.demo 1"
    assert tiny_run.run(folder, more) == 2
    assert "validation.demo_start" in capsys.readouterr().err


def test_average_starts_from_the_loaded_weights(folder: Path) -> None:
    content = read_checkpoint(_saved(folder, "without_average"))
    trainer = tiny_run.build_trainer(folder, WORLD, "peract.ema 0.9")
    trainer.checkpointer.start_from(content)
    name = "network.coarse.tokenizer.position_encoding"
    assert torch.equal(
        trainer.updater.average.average[name], content["model_state"]["mvt1.pos_encoding"]
    )
    resumed = tiny_run.build_trainer(folder, WORLD, "peract.ema 0.9")
    resumed.checkpointer.resume(content)  # the file holds no average
    assert torch.equal(
        resumed.updater.average.average[name], content["model_state"]["mvt1.pos_encoding"]
    )


@pytest.mark.parametrize(("power", "told"), [("0", True), ("0.75", False)])
def test_an_average_that_keeps_the_first_weights_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture, power: str, told: bool
) -> None:
    trainer = tiny_run.build_trainer(folder, WORLD, f"peract.ema 0.999 peract.ema_power {power}")
    with caplog.at_level(logging.WARNING):
        describe_run(trainer)
    assert ("set peract.ema_power 0.75" in caplog.text) == told


def test_loaded_policy_has_the_averaged_weights(folder: Path) -> None:
    path = _saved(folder, "averaged", "peract.ema 0.9 peract.lr 1e-2")
    content = read_checkpoint(path)
    name = "network.coarse.tokenizer.position_encoding"
    average = content["extra"]["average"]["average"][name]
    assert not torch.equal(average, content["model_state"]["mvt1.pos_encoding"])
    loaded = load_policy(path).policy
    assert torch.equal(loaded.network.coarse.tokenizer.position_encoding, average)


@pytest.mark.parametrize(
    ("saved", "changed"),
    [
        ("", "peract.optimizer_type lamb"),
        ("peract.optimizer_type lamb peract.bnb True", "peract.optimizer_type lamb"),
    ],
)
def test_resuming_with_another_optimiser_is_refused(
    folder: Path, capsys, saved: str, changed: str
) -> None:
    name = _saved(folder, f"optimiser{len(saved)}", saved).parent.name.removeprefix("tiny_")
    assert tiny_run.run(folder, f"exp_name {name} epochs 2 {changed}") == 2
    assert "--init-from" in capsys.readouterr().err


def test_moments_of_other_parameters_are_refused(folder: Path) -> None:
    content = read_checkpoint(_saved(folder, "moments"))
    content["optimizer_state"]["param_groups"][0]["params"].pop()
    with pytest.raises(CheckpointError, match="--init-from"):
        tiny_run.build_trainer(folder, WORLD).checkpointer.resume(content)


def test_resuming_keeps_the_hyper_parameters_of_this_run(folder: Path) -> None:
    content = read_checkpoint(_saved(folder, "decay"))
    trainer = tiny_run.build_trainer(folder, WORLD, "peract.lambda_weight_l2 0.25")
    trainer.checkpointer.resume(content)
    assert trainer.updater.optimizer.param_groups[0]["weight_decay"] == 0.25


def test_resuming_bare_weights_continues_the_schedule(folder: Path) -> None:
    content = read_checkpoint(_saved(folder, "bare_weights"))
    trainer = tiny_run.build_trainer(folder, WORLD, "epochs 5")
    trainer.checkpointer.resume({"epoch": 1, "model_state": content["model_state"]})
    assert trainer.updater.state.step == trainer.updater.schedule.next_step == 6


@pytest.mark.parametrize("lamb", [True, False])
def test_a_released_file_resumes_with_its_optimiser_state(
    folder: Path, tmp_path: Path, lamb: bool
) -> None:
    """In the released layout, over all parameters there and without entries of ours."""
    more = "epochs 3 peract.optimizer_type " + ("lamb peract.bnb True" if lamb else "adam")
    network = "encoder sam2 encoder_trainable lora lora_finetune True lora_r 2 sam2_ckpt '' "
    network += SMALL_ENCODER
    whole = tiny_run.build_trainer(folder, WORLD, more, network)
    for _ in range(3):
        _update(whole)
    content = whole.checkpointer.content(0)
    del content["extra"]
    content["optimizer_state"] = to_released(content["optimizer_state"], whole.bundle)
    count = len(content["optimizer_state"]["param_groups"][0]["params"])
    assert count > len(whole.updater.optimizer.param_groups[0]["params"])
    torch.save(content, tmp_path / "model_0.pth")
    resumed = tiny_run.build_trainer(folder, WORLD, more, network)
    resumed.checkpointer.resume(read_checkpoint(tmp_path / "model_0.pth"))
    assert resumed.updater.state.step == resumed.updater.schedule.next_step == 3
    assert float(_update(resumed)) == float(_update(whole))
    for mine, other in zip(
        resumed.bundle.policy.parameters(), whole.bundle.policy.parameters(), strict=True
    ):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"), (b"", "empty")],
)
def test_a_broken_last_checkpoint_names_the_file_to_resume_from(
    folder: Path, capsys, content: bytes, said: str
) -> None:
    name = f"broken{len(content)}"
    last = _saved(folder, name)
    last.write_bytes(content)
    assert tiny_run.run(folder, f"exp_name {name} epochs 2") == 2
    message = capsys.readouterr().err
    sound = last.with_name("model_0.pth")
    assert f"CheckpointError: checkpoint {last} is {said}" in message
    assert f"add `resume {sound}`" in message and "Traceback" not in message
    assert tiny_run.run(folder, f"exp_name {name} epochs 2 resume {sound}") == 0
    assert read_checkpoint(last)["extra"]["step"] == 6
    last.write_bytes(content)
    assert tiny_run.run(folder, f"exp_name {name}2", flags=(f"--init-from={last}",)) == 2
    assert said in capsys.readouterr().err


def test_moments_that_are_no_numbers_are_named_with_their_file(folder: Path, capsys) -> None:
    last = _saved(folder, "bad_moments")
    content = read_checkpoint(last)
    content["optimizer_state"]["state"][0]["exp_avg"].fill_(float("nan"))
    torch.save(content, last)
    assert tiny_run.run(folder, "exp_name bad_moments epochs 2") == 2
    message = capsys.readouterr().err
    assert f"CheckpointError: {last}: the optimiser state: 1 tensor holds NaN" in message
    assert "--init-from" in message


def _saved(folder: Path, name: str, more: str = "") -> Path:
    """A checkpoint after one epoch of three updates."""
    assert tiny_run.run(folder, f"exp_name {name} epochs 1 {more}") == 0
    return tiny_run.run_folder(folder, name) / "model_last.pth"


def test_init_from_takes_weights_only(folder: Path) -> None:
    assert tiny_run.run(folder, "exp_name source epochs 1") == 0
    source = tiny_run.run_folder(folder, "source") / "model_last.pth"
    more = "exp_name tuned epochs 1 peract.lr 1e-12"
    assert tiny_run.run(folder, more, flags=(f"--init-from={source}",)) == 0
    tuned = read_checkpoint(tiny_run.run_folder(folder, "tuned") / "model_last.pth")
    before = read_checkpoint(source)["model_state"]["mvt1.pos_encoding"]
    torch.testing.assert_close(tuned["model_state"]["mvt1.pos_encoding"], before)
    assert tuned["extra"]["step"] == 3 and len(tiny_run.metrics(folder, "tuned")) == 3


def test_init_from_is_looked_at_before_a_store_is_built(folder: Path, capsys) -> None:
    sam2 = folder / "sam2.pt"
    torch.save({"model": {"weight": torch.ones(1)}}, sam2)
    more = f"exp_name foreign store_folder {folder}/not_built"
    assert tiny_run.run(folder, more, flags=(f"--init-from={sam2}",)) == 2
    message = capsys.readouterr().err
    assert f"{sam2} has no entry `model_state`, but model; name a checkpoint" in message
    assert "sam2_ckpt" in message and not (folder / "not_built").exists()


def test_checkpoint_stands_on_its_own_and_needs_no_extra(folder: Path, tmp_path: Path) -> None:
    assert tiny_run.run(folder, "exp_name alone epochs 1") == 0
    run = tiny_run.run_folder(folder, "alone")
    whole = load_policy(run / "model_last.pth")
    content = read_checkpoint(run / "model_last.pth")
    assert set(content) == {
        "epoch",
        "model_state",
        "optimizer_state",
        "lr_sched_state",
        "extra",
    }
    del content["extra"]
    torch.save(content, run / "bare.pth")
    bare = load_policy(run / "bare.pth")  # takes the yaml files beside it
    for mine, other in zip(bare.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_finished_run_has_nothing_to_do(folder: Path) -> None:
    assert tiny_run.run(folder, "exp_name finished epochs 1") == 0
    rows = tiny_run.metrics(folder, "finished")
    before = costs_of(folder, "finished")
    (tiny_run.run_folder(folder, "finished") / "costs.json").unlink()
    assert tiny_run.run(folder, "exp_name finished epochs 1") == 0
    assert tiny_run.metrics(folder, "finished") == rows
    after = costs_of(folder, "finished")
    assert after["updates"] == before["updates"] == after["total_updates"]
    assert after["parameters"] == before["parameters"] and after["seconds"] < before["seconds"]


def test_non_finite_loss_names_the_samples(tmp_path: Path) -> None:
    guard = NonFiniteGuard(tmp_path)
    identity = SampleIdentity("open_drawer", 7, 20, 33, keyframe=2)
    guard.record(3, {"total_loss": torch.tensor(1.0)}, (identity,))
    guard.check()
    guard.record(
        4, {"total_loss": torch.tensor(1.0), "gradient_norm": torch.tensor(math.inf)}, (identity,)
    )
    with pytest.raises(NonFiniteLossError, match="step 4.*open_drawer episode 7 frame 20"):
        guard.check()
    written = json.loads((tmp_path / "non_finite_loss_step_4.json").read_text())
    assert written["samples"][0]["target_frame"] == 33
    assert written["samples"][0]["keyframe"] == 2


def test_non_finite_loss_stops_training_before_a_checkpoint(folder: Path, capsys) -> None:
    more = "exp_name diverges epochs 1 peract.lr 1e30 peract.warmup_steps 0"
    assert tiny_run.run(folder, more) == 2
    assert "is not finite" in capsys.readouterr().err
    assert not (tiny_run.run_folder(folder, "diverges") / "model_last.pth").exists()


@pytest.mark.parametrize(
    ("processes", "accumulation", "updates", "rate"),
    [(1, 1, 20000, 8 * 1.25e-5), (32, 1, 625, 3.2e-3), (8, 4, 625, 3.2e-3)],
)
def test_plan_of_the_published_run(processes, accumulation, updates, rate) -> None:
    from sam2act.config.load import load_experiment

    opts = f"peract.grad_accumulation {accumulation}"
    plan = TrainingBudget.from_config(load_experiment("configs/sam2act.yaml", opts), processes)
    assert plan.updates_per_epoch == updates
    assert plan.learning_rate == pytest.approx(rate)
    assert plan.total_updates == 90 * updates


def test_rate_of_the_released_second_stage_is_a_tenth() -> None:
    """The released file trains with 4e-4 for 320 samples, the paper with 1.25e-5 per sample."""
    from sam2act.config.load import load_experiment

    rates = [
        TrainingBudget.from_config(load_experiment(f"configs/{name}.yaml"), 32).learning_rate
        for name in ("sam2act_plus", "sam2act_plus_corrected")
    ]
    assert rates == pytest.approx([4e-4, 4e-3])


def test_half_precision_needs_a_gpu() -> None:
    from sam2act.config.load import load_experiment

    half = load_experiment("configs/sam2act.yaml")
    brain = load_experiment("configs/sam2act.yaml", "peract.amp_dtype bfloat16")
    assert autocast_dtype(half, CPU) is None
    assert autocast_dtype(half, torch.device("cuda")) == torch.float16
    assert autocast_dtype(brain, CPU) == torch.bfloat16


def test_bfloat16_autocast_trains(folder: Path) -> None:
    trainer = tiny_run.build_trainer(folder, WORLD, "peract.amp True peract.amp_dtype bfloat16")
    assert math.isfinite(float(_update(trainer)))
