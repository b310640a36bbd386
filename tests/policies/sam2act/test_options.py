"""Every option of preprocessing, targets and network that stage 1 has changes the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.multiview.targets import TrainingNoise
from tests.data.synthetic_demos import write_synthetic_task
from tests.training import tiny_run

BATCH = 4


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """One batch of recorded transitions and its instruction tokens."""
    folder = tmp_path_factory.mktemp("options")
    write_synthetic_task(folder / "demos", episodes=3)
    trainer = tiny_run.build_trainer(folder, tiny_run.DistributedContext(0, 1, torch.device("cpu")))
    batch = next(trainer.data.training(0, 1))
    return folder, batch, trainer.data.language[batch.instruction]


def loss(sample, experiment_opts: str = "", network_opts: str = "", *, half: bool = False) -> float:
    """Training loss with fixed weights, draws and global seed."""
    folder, batch, language = sample
    experiment = load_experiment(
        "configs/tiny.yaml", tiny_run.experiment_opts(Path(folder), experiment_opts)
    )
    network = load_network("configs/mvt/tiny.yaml", f"{tiny_run.NETWORK_OPTS} {network_opts}")
    policy = build_policy(experiment, network, float16=half, seed=0).policy.train()
    draws = TrainingNoise.sample(BATCH, torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    with torch.no_grad():
        return float(policy.loss(batch, language, draws).total)


@pytest.mark.parametrize(
    ("experiment_opts", "network_opts"),
    [
        ("rvt.img_aug 0.1", ""),
        ("rvt.point_color_noise 0.3", ""),
        ("rvt.gt_hm_sigma 3.0", ""),
        ("rvt.place_with_mean True", ""),
        ("rvt.move_pc_in_bound False", ""),
        ("peract.transform_augmentation False", ""),
        ("peract.add_rgc_loss False", ""),
        ("scene_bounds [-0.1,-0.4,0.7,0.6,0.4,1.5]", ""),
        ("", "renderer.radius 0.3"),
        ("", "data.points 64"),
        ("", "local_feature inverse_distance"),
        ("", "norm_corr False"),
        ("", "rend_three_views False"),
        ("", "self_cross_ver 0"),
        ("", "st_sca 2.0"),
        ("", "st_wpt_loc_aug 0.2"),
        ("", "st_wpt_loc_inp_no_noise False"),
        ("", "wpt_img_aug 0.2"),
        ("", "activation relu"),
        ("", "attn_dropout 0.5"),
    ],
)
def test_option_changes_the_loss(sample, experiment_opts: str, network_opts: str) -> None:
    assert loss(sample) == loss(sample)
    assert loss(sample, experiment_opts, network_opts) != loss(sample)


@pytest.mark.parametrize("opts", ["activation_checkpointing True", "renderer.backend torch"])
def test_options_of_speed_change_nothing(sample, opts: str) -> None:
    assert loss(sample, "", opts) == loss(sample)


def test_heatmap_half_rounds_to_float16(sample) -> None:
    folder, batch, language = sample
    experiment = load_experiment("configs/tiny.yaml", tiny_run.experiment_opts(Path(folder)))
    maps = {}
    for half in (True, False):
        opts = f"{tiny_run.NETWORK_OPTS} heatmap_half {half}"
        network = load_network("configs/mvt/tiny.yaml", opts)
        policy = build_policy(experiment, network, seed=0).policy
        maps[half] = policy.predict(batch.observation(), language).output.coarse.heatmaps
    assert torch.equal(maps[True], maps[False].half().float())
    assert not torch.equal(maps[True], maps[False])


@pytest.mark.parametrize("forced", [True, False])
def test_collision_flag_can_be_forced_when_acting(sample, forced: bool) -> None:
    folder, batch, language = sample
    opts = tiny_run.experiment_opts(Path(folder), f"eval.force_ignore_collisions {forced}")
    experiment = load_experiment("configs/tiny.yaml", opts)
    network = load_network("configs/mvt/tiny.yaml", tiny_run.NETWORK_OPTS)
    policy = build_policy(experiment, network, seed=0).policy
    action = policy.predict(batch.observation(), language).action.values[:, 0]
    assert (action[:, 8] == float(forced)).all()


def test_target_projection_matters_under_float16_only(sample) -> None:
    rounded = loss(sample, network_opts="target_projection float16", half=True)
    exact = loss(sample, network_opts="target_projection float32", half=True)
    assert rounded != exact
    assert loss(sample, network_opts="target_projection float16") == loss(
        sample, network_opts="target_projection float32"
    )
