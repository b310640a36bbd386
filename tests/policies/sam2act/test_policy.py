"""The policy: losses, augmentation, and that ideal predictions decode to the recorded pose."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from sam2act.config.load import load_experiment, load_network
from sam2act.core.types import KeyframeBatch
from sam2act.geometry.rotations import (
    bins_from_quaternion,
    geodesic_angle,
    matrix_from_euler_xyz,
    quaternion_from_euler_xyz,
)
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.multiview.heads import ActionLogits
from sam2act.policies.multiview.samples import noisy_colors
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from tests.policies.noise import batch

EXPERIMENT = load_experiment("configs/tiny.yaml", "peract.transform_augmentation_rpy [0.,0.,20.]")
NETWORK = load_network(
    "configs/mvt/tiny.yaml",
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 4 lang_dim 8 data.points 0 renderer.radius 0.1 head_hidden [16,16]",
)
TERMS = {
    "trans_loss", "rot_loss_x", "rot_loss_y", "rot_loss_z", "grip_loss", "collision_loss"
}  # fmt: skip
LOWER, UPPER = torch.tensor(EXPERIMENT.scene_bounds).split(3)


def build(**rvt) -> SAM2ActPolicy:
    """A small policy; keyword arguments change the section `rvt`."""
    experiment = dataclasses.replace(EXPERIMENT, rvt=dataclasses.replace(EXPERIMENT.rvt, **rvt))
    return build_policy(experiment, NETWORK).policy


@pytest.fixture(scope="module")
def shared_policy() -> SAM2ActPolicy:
    return build()


@pytest.fixture
def policy(shared_policy: SAM2ActPolicy) -> SAM2ActPolicy:
    """The policy in training mode; tests change its mode only."""
    return shared_policy.train()


def language(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(count, NETWORK.lang_len, NETWORK.lang_dim, generator=generator)


def draws(count: int = 3, seed: int = 5) -> TrainingNoise:
    return TrainingNoise.sample(count, torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------- losses
def test_loss_is_the_sum_of_the_published_terms(policy: SAM2ActPolicy) -> None:
    loss = policy.loss(batch(), language(), draws())
    assert set(loss.terms) == TERMS
    assert all(term.isfinite() and term > 0 for term in loss.terms.values())
    assert all(not term.requires_grad for term in loss.terms.values())
    torch.testing.assert_close(loss.total.detach(), sum(loss.terms.values()))
    assert loss.total.requires_grad
    assert torch.equal(
        policy(batch(), language(), draws()).terms["grip_loss"], loss.terms["grip_loss"]
    )


def test_action_losses_can_be_left_out(policy: SAM2ActPolicy) -> None:
    settings = dataclasses.replace(policy.settings, action_losses=False)
    loss = SAM2ActPolicy(policy.network, settings, policy.spec).loss(batch(), language(), draws())
    assert set(loss.terms) == {"trans_loss"}


def test_loss_of_a_batch_is_the_mean_over_its_parts(policy: SAM2ActPolicy) -> None:
    policy.network.fine.head.norm.eval()  # statistics of the batch would couple the samples
    whole = policy.loss(batch(4), language(4), draws(4))
    parts = []
    for part in (slice(0, 2), slice(2, 4)):
        half = policy.loss(rows(batch(4), part), language(4)[part], draws(4).select(part))
        parts.append(half.terms)
    for name, value in whole.terms.items():
        mean = (parts[0][name] + parts[1][name]) / 2
        torch.testing.assert_close(value, mean, atol=1e-5, rtol=1e-5)


def test_network_is_guided_by_the_draws(policy: SAM2ActPolicy, monkeypatch) -> None:
    seen = []
    forward = policy.network.forward
    monkeypatch.setattr(
        policy.network, "forward", lambda *inputs: seen.append(inputs[-1]) or forward(*inputs)
    )
    policy.loss(batch(), language(), draws())
    (teacher,), (_, targets) = seen, policy.prepare(batch(), draws())
    assert torch.equal(teacher.zoom_noise, draws().zoom)
    assert torch.equal(teacher.waypoint, targets.waypoint)
    jittered = (targets.bins[:, :2] + draws().bin_jitter) % policy.settings.bins
    assert draws().bin_jitter.any() and torch.equal(teacher.teacher_bins, jittered)


def test_heatmap_loss_is_smallest_for_the_targets_of_both_branches(
    policy: SAM2ActPolicy, monkeypatch
) -> None:
    _, targets = policy.prepare(batch(), draws())
    center = targets.waypoint + 2 * NETWORK.st_wpt_loc_aug * draws().zoom
    maps = [
        policy.heatmaps(position)
        for position in (targets.waypoint, NETWORK.st_sca * (targets.waypoint - center))
    ]
    for branch, target in zip((policy.network.coarse, policy.network.fine), maps, strict=True):
        logits = target.clamp(min=1e-30).log()
        monkeypatch.setattr(branch, "heatmaps", lambda tokens, pyramid, logits=logits: logits)
    entropy = sum(torch.special.entr(target).sum(dim=(2, 3)).mean() for target in maps) / 2
    loss = policy.loss(batch(), language(), draws())
    torch.testing.assert_close(loss.terms["trans_loss"], entropy, atol=1e-4, rtol=0)
    torch.testing.assert_close(loss.per_sample["excess"], torch.zeros(3), atol=1e-4, rtol=0)


def test_excess_is_that_of_the_coarse_branch(policy: SAM2ActPolicy, monkeypatch) -> None:
    flat = torch.zeros(3, len(policy.network.views), NETWORK.img_size, NETWORK.img_size)
    monkeypatch.setattr(policy.network.coarse, "heatmaps", lambda tokens, pyramid: flat)
    first = policy.loss(batch(), language(), draws())
    monkeypatch.setattr(policy.network.fine, "heatmaps", lambda tokens, pyramid: flat)
    second = policy.loss(batch(), language(), draws())
    assert first.total != second.total
    assert torch.equal(first.per_sample["excess"], second.per_sample["excess"])
    _, targets = policy.prepare(batch(), draws())
    entropy = torch.special.entr(policy.heatmaps(targets.waypoint)).sum(dim=(2, 3)).mean(1)
    expected = math.log(NETWORK.img_size**2) - entropy  # a flat map costs the log of its pixels
    torch.testing.assert_close(first.per_sample["excess"], expected, atol=1e-4, rtol=0)


def rows(full: KeyframeBatch, part: slice) -> KeyframeBatch:
    return KeyframeBatch(
        *(getattr(full, item.name)[part] for item in dataclasses.fields(KeyframeBatch))
    )


def test_same_draws_same_loss(policy: SAM2ActPolicy) -> None:
    first, again, other = (
        policy.loss(batch(), language(), draws(seed=seed)).total for seed in (5, 5, 6)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


# ------------------------------------------------------------------------------- augmentation
def test_evaluation_neither_augments_nor_adds_noise() -> None:
    policy = build(img_aug=0.3, point_color_noise=0.3).eval()
    recorded = batch()
    results = [policy.prepare(recorded, draws(seed=seed)) for seed in (1, 2)]
    (cloud, targets), (other, _) = results
    assert torch.equal(cloud.points, other.points) and torch.equal(cloud.rgb, other.rgb)
    expected = (recorded.target_pose[:, :3] - (LOWER + UPPER) / 2) * 2  # the bounds are 1 m wide
    torch.testing.assert_close(targets.waypoint, expected, atol=1e-6, rtol=0)
    bins = bins_from_quaternion(recorded.target_pose[:, 3:], policy.settings.bins)
    assert torch.equal(targets.bins, bins)
    losses = [policy.loss(recorded, language(), draws()).total for _ in range(2)]
    assert torch.equal(*losses)


def test_training_moves_cloud_and_target_as_one_body(policy: SAM2ActPolicy) -> None:
    recorded = batch()
    moved, moved_targets = policy.prepare(recorded, draws())
    policy.eval()
    still, still_targets = policy.prepare(recorded, draws())
    assert (moved_targets.waypoint - still_targets.waypoint).abs().amax(1).min() > 1e-3
    before = still.points - still_targets.waypoint[:, None]
    after = moved.points - moved_targets.waypoint[:, None]
    yaw = torch.deg2rad(20 * draws().augmentation.rotation)
    yaw[:, :2] = 0  # this run turns about the vertical alone
    turned = torch.einsum("bni,bij->bnj", before, matrix_from_euler_xyz(yaw))
    torch.testing.assert_close(after, turned, atol=1e-5, rtol=0)
    assert moved_targets.waypoint.abs().max() <= 1 + 1e-6


def test_color_noise_acts_in_training() -> None:
    policy = build(point_color_noise=0.2).train()
    torch.manual_seed(0)
    noisy, _ = policy.prepare(batch(), draws())
    exact, _ = policy.eval().prepare(batch(), draws())
    assert 0 < (noisy.rgb - exact.rgb).abs().max() <= 0.2 + 1e-6


def test_color_noise_has_a_random_strength_per_cloud() -> None:
    """Each cloud is bounded by its own s ~ U(0, strength), and fills [-s, s] evenly."""
    torch.manual_seed(0)
    clouds, strength = 400, 0.05
    colors = torch.tensor([0.0, 0.5, 1.0]).expand(clouds, 2000, 3)
    noise = noisy_colors(colors, strength) - colors
    bounds = noise.abs().flatten(1).amax(1)
    assert bounds.min() > 0 and bounds.max() <= strength + 1e-6
    grid = (torch.arange(clouds) + 0.5) / clouds * strength
    assert (bounds.sort().values - grid).abs().max() < 0.1 * strength  # Kolmogorov, p < 0.001
    for bound, values in zip(bounds[:5], noise[:5], strict=True):
        inner = (values.flatten() / bound).quantile(torch.tensor([0.25, 0.5, 0.75]))
        torch.testing.assert_close(inner, torch.tensor([-0.5, 0.0, 0.5]), atol=0.05, rtol=0)
    assert (noise[:, :, 0] < 0).any() and (noise[:, :, 2] > 0).any(), "black and white stay free"


# ---------------------------------------------------------------------------------- inference
def test_action_is_a_pose_near_the_bounds(policy: SAM2ActPolicy) -> None:
    chunk = policy.predict(batch().observation(), language()).action
    assert chunk.values.shape == (3, 1, 9) and chunk.valid.all()
    assert chunk.space == "keyframe_pose"
    position, quaternion, binary = chunk.values[:, 0].split([3, 4, 2], dim=1)
    # The zoomed cube may stick out of the bounds by its own half width.
    reach = (UPPER - LOWER).max() / 2 / NETWORK.st_sca
    assert (position >= LOWER - reach).all() and (position <= UPPER + reach).all()
    torch.testing.assert_close(quaternion.norm(dim=1), torch.ones(3))
    assert (quaternion[:, 3] >= 0).all() and ((binary == 0) | (binary == 1)).all()


def test_acting_changes_neither_mode_nor_statistics(policy: SAM2ActPolicy) -> None:
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    first, second = (
        policy.predict(batch().observation(), language()).action.values for _ in range(2)
    )
    assert policy.training and policy.network.training
    assert torch.equal(first, second)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def test_environments_do_not_influence_each_other(policy: SAM2ActPolicy) -> None:
    together = policy.predict(batch().observation(), language()).action.values
    alone = policy.predict(rows(batch(), slice(1, 2)).observation(), language()[1:2]).action.values
    torch.testing.assert_close(alone, together[1:2])


@pytest.mark.parametrize("place_with_mean", [False, True], ids=["bounds", "cloud"])
def test_ideal_predictions_decode_to_the_recorded_pose(place_with_mean: bool, monkeypatch) -> None:
    policy, recorded = build(place_with_mean=place_with_mean).eval(), batch(8)
    _, targets = policy.prepare(recorded, draws(8))
    predict_ideally(policy, targets.waypoint, targets.bins, recorded, monkeypatch)
    prediction = policy.predict(recorded.observation(), language(8))
    action = prediction.action.values[:, 0]
    error = prediction.frame.to_cube(action[:, :3]) - targets.waypoint
    half_cell = 1 / NETWORK.img_size
    assert (prediction.output.zoom_center - targets.waypoint).abs().max() <= 1.01 * half_cell
    assert error.abs().max() <= 1.01 * half_cell / NETWORK.st_sca
    assert torch.equal(bins_from_quaternion(action[:, 3:7], policy.settings.bins), targets.bins)
    half_bin = 180 / policy.settings.bins
    assert geodesic_angle(action[:, 3:7], recorded.target_pose[:, 3:]).max() < 3 * half_bin
    assert torch.equal(action[:, 7].long(), recorded.gripper_open)
    assert torch.equal(action[:, 8].long(), recorded.ignore_collisions)


def test_all_bins_survive_decoding(monkeypatch) -> None:
    policy = build().eval()
    angles = torch.arange(-180, 180, 5.0)
    middle = torch.arange(72.0).remainder(35) * 5 - 85  # within +-85 degrees
    quaternion = quaternion_from_euler_xyz(torch.stack([angles, middle, angles.flip(0)], dim=1))
    recorded = batch(72, side=2)
    position = recorded.target_pose[:, :3]
    recorded = dataclasses.replace(recorded, target_pose=torch.cat([position, quaternion], 1))
    _, targets = policy.prepare(recorded, draws(72))
    predict_ideally(policy, targets.waypoint, targets.bins, recorded, monkeypatch)
    action = policy.predict(recorded.observation(), language(72)).action.values[:, 0]
    assert geodesic_angle(action[:, 3:7], quaternion).max() < 1e-3


def predict_ideally(
    policy: SAM2ActPolicy, waypoint: Tensor, bins: Tensor, recorded: KeyframeBatch, monkeypatch
) -> None:
    """Make the network's heat maps those of the targets and its logits certain of the truth."""
    network = policy.network

    def logits(position: Tensor) -> Tensor:
        return policy.heatmaps(position).clamp(min=1e-12).log()

    coarse = logits(waypoint)
    fine = logits(network.to_zoom(waypoint, network.peak(coarse)))
    one_hot = torch.nn.functional.one_hot
    action = ActionLogits(
        one_hot(bins, policy.settings.bins).float(),
        one_hot(recorded.gripper_open, 2).float(),
        one_hot(recorded.ignore_collisions, 2).float(),
    )
    monkeypatch.setattr(network.coarse, "heatmaps", lambda tokens, pyramid: coarse)
    monkeypatch.setattr(network.fine, "heatmaps", lambda tokens, pyramid: fine)
    monkeypatch.setattr(network.fine.head, "forward", lambda *args: action)
