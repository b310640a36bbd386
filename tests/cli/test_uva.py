"""UVA through the ordinary commands: autoencoder, video, joint stage, resume, acting."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2act.cli import imagine, train
from sam2act.config.load import load_experiment, load_network
from sam2act.core.registry import SOURCES
from sam2act.policies.checkpoint import load_policy, read_checkpoint, save_checkpoint
from sam2act.policies.observations import random_observation
from sam2act.policies.session import PolicySession
from sam2act.policies.uva.config import UVAConfig
from sam2act.policies.uva.policy import UVAPolicy

SMALLER = (
    "encoder_embed_dim 16 num_heads 2 diffloss_w 16 act_diffloss_w 16 act_diff_testing_steps 3"
)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with SOURCES.temporarily(toy_pusht="tests.policies.uva.toy_pusht:ToyPushT"):
        yield


def trained(folder: Path, name: str, network: str, epochs: int = 1) -> Path:
    """Train for `epochs` updates of two windows; the last checkpoint."""
    opts = (
        f"source toy_pusht data_folder {folder} store_folder {folder}/store demo 3 bs 2 "
        f"train_iter 2 epochs {epochs} exp_name {name} validation.demo 0 peract.warmup_steps 1"
    )
    arguments = [
        "--exp_cfg_path=configs/tiny_uva_pusht.yaml",
        "--mvt_cfg_path=configs/mvt/tiny_uva_pusht.yaml",
        f"--exp_cfg_opts={opts}",
        f"--mvt_cfg_opts={SMALLER} {network}",
        f"--log-dir={folder}/runs",
        "--device=cpu",
    ]
    assert train.main(arguments) == 0
    return folder / "runs" / f"tiny_uva_{name}" / "model_last.pth"


def test_three_stages_each_on_what_the_one_before_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sam2act")
    first = trained(tmp_path, "vae", "trains vae cache_latents False")
    video = trained(
        tmp_path,
        "video",
        f"predict_action False selected_training_mode video_model pretrained_model_path {first}",
        epochs=1,
    )
    learnt, seen = (read_checkpoint(path)["model_state"] for path in (first, video))
    encoder = "vae_model.encoder.0.weight"
    assert torch.equal(learnt[encoder], seen[encoder])
    assert seen["vae_model.scale"] > 0 and learnt["vae_model.scale"] == 0
    start = f"pretrained_model_path {video}"
    joint = trained(tmp_path, "joint", start)
    content = read_checkpoint(joint)
    assert torch.equal(content["model_state"]["vae_model.scale"], seen["vae_model.scale"])
    assert any("tensors loaded" in record.getMessage() for record in caplog.records)
    assert content["extra"]["step"] == 1
    again = read_checkpoint(trained(tmp_path, "joint", start, epochs=2))
    name = "model.z_proj.weight"
    assert again["extra"]["step"] == 2
    assert not torch.equal(again["model_state"][name], content["model_state"][name])

    bundle = load_policy(joint)
    session = PolicySession(bundle)
    seen_now = random_observation(session.spec.sized(96), 2, torch.Generator().manual_seed(0))
    assert seen_now.rgb.shape == (2, 4, 1, 96, 96, 3)
    chunk = session.act(seen_now, ["push", "push"])
    assert chunk.values.shape == (2, 16, 2) and chunk.space == "raw"
    # Actions lie in the range of the recorded ones.
    assert chunk.values.min() >= 99 and chunk.values.max() <= 401
    assert isinstance(bundle.policy, UVAPolicy)
    pictures = bundle.policy.imagine(seen_now, torch.zeros(2, 1, 1), torch.arange(2))
    assert pictures.shape == (2, 4, 96, 96, 3)


def test_imagined_frames_stand_beside_the_real_ones(tmp_path: Path) -> None:
    """After the autoencoder alone; a copy of the last frame errs more the further it looks."""
    path = trained(tmp_path, "vae", "trains vae cache_latents False")
    content = read_checkpoint(path)
    content["model_state"]["vae_model.scale"] = torch.tensor(1.0)
    content["extra"]["network"]["trains"] = "model"
    save_checkpoint(path, content)
    held_out = "demo 2 validation.split train validation.demo 1 validation.demo_start 2"
    flags = ["--windows", "2", "--output", f"{tmp_path}/seen", "--device", "cpu"]
    assert imagine.main([str(path), *flags, "--exp-cfg-opts", held_out]) == 0
    found = json.loads((tmp_path / "seen.json").read_text())
    kinds = {"imagined", "with_actions", "decoded", "copied"}
    assert found["windows"] == 2 and set(found["squared_error"]) == kinds
    copied = found["squared_error"]["copied"]
    assert len(copied) == 4 and 0 < copied[0] <= copied[-1]
    picture = np.asarray(Image.open(tmp_path / "seen.png"))
    assert picture.shape == (2 * 3 * 100, 5 * 100, 3)
    # First row: the last frame seen, then the real ones, in which the square has moved.
    assert not np.array_equal(picture[2:98, 2:98], picture[2:98, 402:498])
    assert imagine.main([str(path), *flags]) == 2  # nothing is held out


def test_the_published_preset() -> None:
    network = load_network("configs/mvt/uva_pusht.yaml")
    experiment = load_experiment("configs/uva_pusht.yaml")
    assert isinstance(network, UVAConfig)
    assert network.size.width == 768 and network.image_side == 256 and network.vae == "kl16"
    assert network.modes == (
        *("video_model", "dynamic_model", "policy_model"),
        *("inverse_model", "full_dynamic_model"),
    )
    assert 8 * experiment.bs * experiment.peract.lr == pytest.approx(1e-4)
