"""Predicting the next keyframe's views: what it learns from, what it leaves alone, its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.core.types import KeyframePreviewBatch, LossOutput
from sam2act.data.loader import gather_batch
from sam2act.data.store.builder import ensure_store
from sam2act.data.store.request import StoreRequest
from sam2act.policies.checkpoint import build_policy, load_policy, read_checkpoint
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.sam2act.auxiliary import TERM, NextKeyframe
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from sam2act.policies.sam2act.stages import check_stage
from sam2act.runtime.distributed import distributed_context
from sam2act.training.trainer import Trainer
from tests.data.synthetic_demos import CAMERAS, IMAGE_SIZE, write_synthetic_task
from tests.training import tiny_run

ON = "auxiliary next_keyframe"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auxiliary")
    tiny_run.write_demos(folder, episodes=2)
    return folder


def updated(folder: Path, name: str, network: str) -> tuple[list[LossOutput], Trainer]:
    """Two updates from the same start; their losses."""
    with distributed_context("cpu") as world:
        trainer = tiny_run.build_trainer(folder, world, "bs 2", network, folder / name)
    batches = trainer.data.training(0, 2)
    return [trainer.update(batches) for _ in range(2)], trainer


def test_without_a_weight_every_number_stays(folder: Path) -> None:
    plain, with_none = updated(folder, "plain", "")
    zero, with_zero = updated(folder, "zero", f"{ON} auxiliary_weight 0")
    assert_equal([x.terms for x in plain], [x.terms for x in zero])
    one, other = (trainer.checkpointer.content(0) for trainer in (with_none, with_zero))
    for entry in ("model_state", "optimizer_state"):
        assert_equal(one[entry], other[entry])
    assert TERM not in zero[0].terms and "training_state" not in other["extra"]


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, list):
        assert isinstance(other, list) and len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    elif isinstance(one, Tensor):
        assert isinstance(other, Tensor) and torch.equal(one, other)
    else:
        assert one == other


def test_it_trains_resumes_and_leaves_no_trace_in_the_weights(folder: Path) -> None:
    losses, trainer = updated(folder, "whole", ON)
    assert all(float(loss.terms[TERM]) > 0 for loss in losses)
    trainer.save_last(0)
    path = trainer.files.last
    content = read_checkpoint(path)
    plain = tiny_run.build_bundle(folder).model_state()
    assert content["model_state"].keys() == plain.keys()
    assert any(name.startswith("auxiliary.") for name in content["extra"]["training_state"])

    with distributed_context("cpu") as world:
        resumed = tiny_run.build_trainer(folder, world, "bs 2", ON, folder / "resumed")
    resumed.checkpointer.resume(content)
    for run in (trainer, resumed):
        run.update(run.data.training(2, 1))
    one, other = (run.checkpointer.content(1) for run in (trainer, resumed))
    for entry in ("model_state", "optimizer_state"):
        assert_equal(one[entry], other[entry])
    assert_equal(one["extra"]["training_state"], other["extra"]["training_state"])

    bundle = load_policy(path)
    for name, value in bundle.model_state().items():
        assert torch.equal(value, content["model_state"][name])


def test_the_second_task_reaches_the_coarse_branch_alone(folder: Path) -> None:
    with distributed_context("cpu") as world:
        trainer = tiny_run.build_trainer(folder, world, "bs 2", ON, folder / "grad")
    policy, batch = trainer.bundle.policy, next(iter(trainer.data.training(0, 1)))
    assert isinstance(policy, SAM2ActPolicy) and isinstance(batch, KeyframePreviewBatch)
    noise = policy.sample_noise(2, torch.Generator().manual_seed(0))
    both = policy.loss(batch, trainer.data.language[batch.instruction], noise)
    plain = sum(value for name, value in both.terms.items() if name != TERM)
    torch.testing.assert_close(both.total.detach(), plain + 0.1 * both.terms[TERM])
    gradients = {}
    for weight in (0.1, 100.0):
        config = dataclasses.replace(policy.network.config, auxiliary_weight=weight)
        policy.network.config = config
        torch.manual_seed(0)
        policy.zero_grad()
        policy.loss(batch, trainer.data.language[batch.instruction], noise).total.backward()
        for name in ("coarse", "fine"):
            module = getattr(policy.network, name).transformer
            grads = [p.grad for p in module.parameters() if p.grad is not None]
            gradients[name, weight] = torch.cat([g.flatten() for g in grads])
    assert torch.equal(gradients["fine", 0.1], gradients["fine", 100.0])
    assert not torch.equal(gradients["coarse", 0.1], gradients["coarse", 100.0])


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> KeyframePreviewBatch:
    folder = tmp_path_factory.mktemp("preview")
    write_synthetic_task(folder / "data")
    request = StoreRequest(
        *(folder / "data", folder / "store"), demo=2, cameras=CAMERAS, image_size=IMAGE_SIZE
    )
    store = ensure_store(request, ["open_drawer"], progress=False)
    found = gather_batch(store, store.valid[:8], preview=True)
    assert isinstance(found, KeyframePreviewBatch)
    following = gather_batch(store, store.valid[:8])
    assert torch.equal(following.rgb, found.rgb)
    for row, identity in enumerate(found.identities):
        next_row = next(
            (
                r
                for r, other in enumerate(found.identities)
                if (other.episode, other.frame) == (identity.episode, identity.target_frame)
            ),
            None,
        )
        if next_row is not None:
            assert torch.equal(found.after.rgb[row], found.rgb[next_row])
    return found


def test_the_last_keyframe_of_a_recording_shows_nothing_new(batch: KeyframePreviewBatch) -> None:
    assert batch.shown.any()
    for row in range(len(batch)):
        if not batch.shown[row]:
            assert torch.equal(batch.after.rgb[row], batch.rgb[row])
    one = batch.select([1])
    assert isinstance(one, KeyframePreviewBatch) and len(one.after) == 1
    assert torch.equal(one.after.rgb[0], batch.after.rgb[1])


def test_samples_whose_next_keyframe_is_unknown_do_not_count() -> None:
    torch.manual_seed(0)
    head = NextKeyframe(width=6, channels=5, places=2 * 9)
    generator = torch.Generator().manual_seed(0)
    noise = head.draw(TrainingNoise.sample(3, generator), 3, generator)
    tokens, wanted = torch.randn(6, 6, 3, 3), torch.randn(6, 5, 3, 3)
    shown = torch.tensor([True, False, True])
    loss = head.loss(tokens, wanted, shown, noise)
    other = wanted.clone()
    other[2:4] += 1
    assert torch.equal(head.loss(tokens, other, shown, noise), loss)
    other[:2] += 1
    assert not torch.equal(head.loss(tokens, other, shown, noise), loss)
    assert head.loss(tokens, wanted, torch.zeros(3, dtype=torch.bool), noise) == 0
    part = noise.select(slice(1, 3)).to("cpu")
    assert torch.equal(part.noise, noise.noise[1:])
    assert torch.equal(part.keyframes.zoom, noise.keyframes.zoom[1:])


def test_its_loss_falls_and_reaches_the_transformer() -> None:
    torch.manual_seed(0)
    head = NextKeyframe(width=8, channels=4, places=9)
    tokens = torch.randn(4, 8, 3, 3, requires_grad=True)
    wanted = tokens.detach()[:, :4] * 0.5
    shown = torch.ones(4, dtype=torch.bool)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    losses = []
    for step in range(30):
        generator = torch.Generator().manual_seed(step)
        noise = head.draw(TrainingNoise.sample(4, generator), 4, generator)
        loss = head.loss(tokens, wanted, shown, noise)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert tokens.grad is not None and tokens.grad.abs().sum() > 0


def test_refusals() -> None:
    network = load_network("configs/mvt/tiny.yaml", ON)
    experiment = load_experiment("configs/tiny.yaml", "transforms [crop(16)]")
    with pytest.raises(ConfigError, match=r"leave out transforms \[crop\(16\)\]"):
        check_stage(1, experiment, network)
    with pytest.raises(ConfigError, match="auxiliary: 'keyframe' is not one of"):
        load_network("configs/mvt/tiny.yaml", "auxiliary keyframe")
    blind = load_network("configs/mvt/tiny.yaml", f"{ON} encoder none multires_inputs False")
    with pytest.raises(ConfigError, match="choose an encoder"):
        build_policy(load_experiment("configs/tiny.yaml"), blind)
