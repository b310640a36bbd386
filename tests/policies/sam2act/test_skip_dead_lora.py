"""`peract.skip_dead_lora` leaves out work that moves no weight, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam2act.config.load import load_experiment
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import read_checkpoint, save_checkpoint
from tests.small_encoder import SMALL_ENCODER
from tests.training import tiny_run

PUBLISHED = "peract.optimizer_type lamb peract.bnb True peract.lr 2e-3 peract.lambda_weight_l2 0.1 "
ADAPTED = "encoder sam2 encoder_trainable lora lora_finetune True sam2_ckpt '' "
ADAPTED += SMALL_ENCODER


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dead")
    tiny_run.write_demos(folder)
    return folder


def trained(folder: Path, name: str, more: str = "") -> dict[str, torch.Tensor]:
    """Weights after six updates."""
    opts = f"exp_name {name} epochs 2 {PUBLISHED} {more}"
    assert tiny_run.run(folder, opts, ADAPTED) == 0
    return read_checkpoint(tiny_run.run_folder(folder, name) / "model_last.pth")["model_state"]


def test_weights_are_the_same_to_the_last_bit(folder: Path) -> None:
    whole = trained(folder, "whole")
    skipped = trained(folder, "skipped", "peract.skip_dead_lora True")
    assert whole.keys() == skipped.keys()
    different = [name for name in whole if not torch.equal(whole[name], skipped[name])]
    assert different == []
    # Not because nothing moved: down projections decay, the rest learns.
    first = trained(folder, "first", "train_iter 4")
    moved = {name for name in whole if not torch.equal(whole[name], first[name])}
    assert any("linear_a_q" in name for name in moved)
    assert any("layers" in name and "linear" not in name for name in moved)
    assert not any("linear_b" in name for name in moved)


def test_losses_are_the_same(folder: Path) -> None:
    columns = ("total_loss", "trans_loss", "rot_loss_x", "collision_loss")
    runs = [tiny_run.metrics(folder, name) for name in ("whole", "skipped")]
    whole, skipped = ([[row[c] for c in columns] for row in run] for run in runs)
    assert whole == skipped and len(whole) == 6


def test_encoder_leaves_nothing_for_the_backward_pass(folder: Path) -> None:
    for skip, expected in (("False", True), ("True", False)):
        more = f"{PUBLISHED} peract.skip_dead_lora {skip}"
        network = tiny_run.build_bundle(folder, more, ADAPTED).policy.network
        pyramid = network.coarse_encoder(torch.rand(1, 3, 64, 64))
        assert pyramid.coarse.requires_grad is expected


def test_trained_adapters_are_refused(folder: Path, tmp_path: Path, capsys) -> None:
    trained(folder, "source", "train_iter 4")
    content = read_checkpoint(tiny_run.run_folder(folder, "source") / "model_last.pth")
    name = next(name for name in content["model_state"] if "linear_b_v" in name)
    content["model_state"][name][0, 0] = 1e-3
    save_checkpoint(tmp_path / "moved.pth", content)
    opts = f"exp_name refused {PUBLISHED} peract.skip_dead_lora True"
    flags = (f"--init-from={tmp_path / 'moved.pth'}",)
    assert tiny_run.run(folder, opts, ADAPTED, flags) == 2
    assert "have been trained; set it to False" in capsys.readouterr().err


def test_a_network_without_adapters_is_refused(folder: Path, capsys) -> None:
    opts = f"exp_name without {PUBLISHED} peract.skip_dead_lora True"
    assert tiny_run.run(folder, opts) == 2
    assert "peract.skip_dead_lora: True is for encoders with LoRA" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        "peract.bnb False",
        "peract.optimizer_type adamw",
        "peract.zero_norm_escape True",
        "peract.grad_clip 1.0",
    ],
)
def test_optimisers_that_move_adapters_are_refused(more: str) -> None:
    with pytest.raises(ConfigError, match="peract.skip_dead_lora: True needs an optimiser"):
        load_experiment("", f"{PUBLISHED} peract.skip_dead_lora True {more}")
