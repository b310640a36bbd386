"""RVT: losses, acting, and the cube that it sees in training and when acting."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.multiview.preprocessing import world_cloud
from sam2act.policies.multiview.samples import placed
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.rvt.policy import RVTPolicy
from sam2act.rendering.views import SOFT_VIEWS, project
from tests.policies import noise

SMALL = (
    "depth 2 img_size 33 img_patch_size 11 im_channels 8 attn_dim 16 attn_heads 2 "
    "attn_dim_head 8 lang_len 4 lang_dim 8 final_dim 8 data.points 0 renderer.radius 0.1"
)
CAMERAS = "cameras [front,wrist] image_size 16"
TERMS = ("trans_loss", "rot_loss_x", "rot_loss_y", "rot_loss_z", "grip_loss", "collision_loss")


def small(experiment_opts: str = "", network_opts: str = "") -> RVTPolicy:
    """A policy of the tiny preset, smaller still."""
    experiment = load_experiment("configs/tiny_rvt.yaml", f"{CAMERAS} {experiment_opts}")
    network = load_network("configs/mvt/tiny_rvt.yaml", f"{SMALL} {network_opts}")
    return build_policy(experiment, network, seed=0).policy


def loss(policy: RVTPolicy):
    """Of three samples with fixed draws."""
    draws = TrainingNoise.sample(3, torch.Generator().manual_seed(1))
    language = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    return policy.train().loss(noise.batch(), language, draws)


def test_all_terms_are_summed_and_every_parameter_gets_a_gradient() -> None:
    policy = small()
    found = loss(policy)
    assert tuple(found.terms) == policy.term_names == TERMS
    torch.testing.assert_close(found.total.detach(), torch.stack(list(found.terms.values())).sum())
    found.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in policy.parameters())
    assert [n for n, p in policy.named_parameters() if not p.grad.any()] == []


def test_scores_do_not_train_the_heat_maps() -> None:
    """The pooled head reads where the heat maps are, but its losses do not move them."""
    policy = small()
    found = policy.network.run_branch(
        torch.rand(1, 5, 10, 33, 33), torch.rand(1, 4), torch.rand(1, 4, 8)
    )
    found.scores.sum().backward()
    assert policy.network.branch.decoder.to_heatmap.weight.grad is None
    assert policy.network.branch.decoder.join.weight.grad.any()


@pytest.mark.parametrize(
    "option",
    ["rvt.img_aug 0.1", "rvt.gt_hm_sigma 3.0", "rvt.place_with_mean True"]
    + ["network rend_three_views True use_point_renderer True", "network norm_corr True"]
    + ["network use_point_renderer True", "network renderer.radius 0.2"],
)
def test_option_changes_the_loss(option: str) -> None:
    network = option.removeprefix("network ")
    policy = small("", network) if network != option else small(option)
    assert loss(policy).total.item() != loss(small()).total.item()


def test_noise_lies_on_drawn_channels_and_not_on_the_pixel_location() -> None:
    policy = small()
    cloud, _ = placed(world_cloud(noise.batch().observation()), policy.settings)
    plain = policy.network.render(cloud)
    noisy = policy.network.render(cloud, 0.1)
    assert torch.equal(noisy[:, :, 7:], plain[:, :, 7:])
    apart = (noisy - plain.clamp(-1, 1))[:, :, :7].abs()
    assert 0 < apart.max() <= 0.1 + 1e-6 and noisy[:, :, :7].abs().max() <= 1


@pytest.mark.parametrize(
    ("asked", "trained", "acting"),
    [("auto", False, True), ("trained", False, False), ("trained", True, True)]
    + [("True", False, True), ("False", True, False), ("auto", True, True)],
)
def test_cube_when_acting(asked: str, trained: bool, acting: bool) -> None:
    policy = small(f"rvt.place_with_mean {trained} eval.place_with_mean {asked}")
    assert policy.settings.center_on_cloud == trained
    assert policy.settings.when_acting().center_on_cloud == acting
    observation = noise.batch().observation()
    prediction = policy.predict(observation, torch.zeros(3, 4, 8))
    settings = dataclasses.replace(policy.settings, center_on_cloud=acting)
    _, frame = placed(world_cloud(observation), settings)
    back = prediction.frame.to_world(prediction.output.waypoint)
    assert torch.equal(back, frame.to_world(prediction.output.waypoint))
    assert torch.equal(prediction.action.values[:, 0, :3], back)


def test_targets_and_peak_share_the_shift_of_the_soft_renderer() -> None:
    policy = small()
    position = torch.tensor([[0.31, -0.22, 0.47]])
    maps = policy.heatmaps(position)
    exact = project(position, SOFT_VIEWS, 33) - 1 / 33
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    mean = torch.stack([(maps * x).sum(dim=(2, 3)) for x in (columns, rows)], dim=-1)
    torch.testing.assert_close(mean, exact, rtol=0, atol=0.02)
    peak = policy.network.peak(maps.clamp(min=1e-9).log())
    assert (peak - position).abs().max() <= 2 / 33


def test_keys_that_make_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"stage_two: False.*start from configs/mvt/rvt\.yaml"):
        load_network("configs/mvt/rvt.yaml", "stage_two True")
    with pytest.raises(ConfigError, match="rend_three_views|cannot draw three views"):
        load_network("configs/mvt/rvt.yaml", "rend_three_views True")
    with pytest.raises(ConfigError, match="rvt has no second stage"):
        RVTPolicy.check_stage(2, load_experiment("configs/rvt.yaml"), RVTPolicy.Config())
    RVTPolicy.check_stage(1, load_experiment("configs/rvt.yaml", "bs 1"), RVTPolicy.Config())
