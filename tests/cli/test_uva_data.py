"""UVA on small files in the form of other data sets: from the file to an action."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.cli import train
from sam2act.config.load import load_experiment, load_network
from sam2act.policies.base import BuildOptions
from sam2act.policies.uva import load_uva
from sam2act.policies.uva.config import UVAConfig
from sam2act.policies.uva.policy import UVAPolicy
from tests.data.hdf5.demo_files import SIDE, targets, write_libero, write_robomimic
from tests.data.umi.recordings import arrays, write_recordings

TINY = (
    "autoregressive_model custom encoder_embed_dim 16 encoder_depth 1 decoder_depth 1 num_heads 2 "
    "diffloss_w 16 diffloss_d 1 act_diffloss_w 16 act_diffloss_d 1 act_diff_testing_steps 3 "
    "vae small vae_weights '' image_side 16 latent_side 4 vae_embed_dim 2 patch_size 2"
)
DATA_SETS = ("libero10", "tool_hang", "umi")


def trained(folder: Path, name: str, experiment: str, network: str = "") -> Path:
    """Two updates with the published yaml files and a tiny network; the checkpoint."""
    opts = (
        f"{experiment} data_folder {folder} store_folder {folder}/store image_size {SIDE} demo 2 "
        "bs 2 train_iter 2 epochs 2 num_workers 0 peract.warmup_steps 1 peract.amp False"
    )
    arguments = [
        f"--exp_cfg_path=configs/uva_{name}.yaml",
        f"--mvt_cfg_path=configs/mvt/uva_{name}.yaml",
        f"--exp_cfg_opts={opts}",
        f"--mvt_cfg_opts={TINY} {network}",
        f"--log-dir={folder}/runs",
        "--device=cpu",
    ]
    assert train.main(arguments) == 0
    return folder / "runs" / f"uva_{name}_test" / "model_last.pth"


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 16, 3, SIDE, SIDE, generator=generator)


def test_libero(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="reading the files needs h5py")
    tasks = ("KITCHEN_SCENE3_turn_on_the_stove", "KITCHEN_SCENE8_put_both_moka_pots_on_the_stove")
    for task in tasks:
        write_libero(tmp_path / f"{task}_demo.hdf5")
    opts = f"tasks {','.join(tasks)} language.encoder hashed transforms " + (
        "['flip_rows','normalise_actions(\"limits\")']"
    )
    policy = load_uva(trained(tmp_path, "libero10", opts))
    texts = ["turn on the stove", "put both moka pots on the stove"]
    found = policy.predict_action({"agentview_rgb": pictures(2)}, texts)
    assert found["action"].shape == (2, 8, 10) and found["action_pred"].shape == (2, 16, 10)
    # Targets lie in the range of the recorded ones.
    assert found["action_pred"][..., 0].min() >= 0 and found["action_pred"][..., 0].max() < 0.3


def test_tool_hang(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="reading the files needs h5py")
    path = tmp_path / "tool_hang" / "ph" / "image_abs.hdf5"
    write_robomimic(path, train=["demo_0"], valid=["demo_1"])
    held_out = "validation.split valid validation.demo 2"
    policy = load_uva(
        trained(tmp_path, "tool_hang", f"tasks tool_hang@train {held_out}", "action_rate 10")
    )
    seen = {name: torch.zeros(1, 16, size) for name, size in policy.policy.config.state.items()}
    actions = policy.predict_action({"sideview_image": pictures(1), **seen})["action_pred"]
    along = torch.from_numpy(targets(0)[:, 0]).float()
    assert actions.shape == (1, 16, 10)
    assert along.min() <= actions[..., 0].min() and actions[..., 0].max() <= along.max() + 1e-6


def test_umi(tmp_path: Path) -> None:
    """Two data sets, one of which counts twice; poses relative to the present one and back."""
    pytest.importorskip("zarr", reason="reading stores needs zarr")
    for task in ("cup", "towel"):
        write_recordings(tmp_path / f"{task}.zarr")
    mixed = "data_mix cup:2,towel:1 transforms ['mask_mirror','relative_poses']"
    policy = load_uva(trained(tmp_path, "umi", mixed))
    recorded = {name: values[None, 27:75:3] for name, values in arrays().items()}
    here, there = recorded, {**recorded, "robot0_eef_pos": recorded["robot0_eef_pos"] + 1}
    found = []
    for seen in (here, there):
        state = {n: torch.from_numpy(v).float() for n, v in seen.items() if v.ndim == 3}
        found.append(policy.predict_action({"camera0_rgb": pictures(1), **state})["action_pred"])
    assert found[0].shape == (1, 16, 10)
    # The same motion a metre away in every direction.
    torch.testing.assert_close(found[1][..., :3], found[0][..., :3] + 1, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1][..., 3:], found[0][..., 3:], atol=1e-4, rtol=0)
    first = torch.linalg.vector_norm(found[0][..., 3:6], dim=-1)
    torch.testing.assert_close(first, torch.ones_like(first), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", DATA_SETS)
def test_published_sizes(name: str) -> None:
    """The network of the yaml files in both stages, without memory of its own."""
    experiment = load_experiment(f"configs/uva_{name}.yaml")
    path, small = f"configs/mvt/uva_{name}.yaml", "vae small vae_weights ''"
    first = load_network(path, f"{small} predict_action False selected_training_mode video_model")
    assert isinstance(first, UVAConfig) and first.modes == ("video_model",)
    network = load_network(path, small)
    assert isinstance(network, UVAConfig)
    with torch.device("meta"):
        policy = UVAPolicy.build(network, experiment, BuildOptions())
    assert policy.config.size.width == 768 and policy.spec.action.size == 10
    assert policy.spec.action.rate == 20 and policy.spec.image_size == 0
    assert 8 * experiment.bs * experiment.peract.lr == pytest.approx(1e-4)
    assert (policy.spec.language is not None) == (name == "libero10")
