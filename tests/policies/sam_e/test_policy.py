"""SAM-E: sequences of keyframes in training, decoding and execution."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.core.types import KeyframeSequenceBatch
from sam2act.geometry.augmentation import augmenting_motion
from sam2act.geometry.rotations import canonical_quaternion, matrix_from_quaternion_xyzw
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.executors import build_executor
from sam2act.policies.multiview.samples import prepared
from sam2act.policies.multiview.targets import TrainingNoise
from sam2act.policies.sam_e.losses import masked_mean
from sam2act.policies.sam_e.policy import SamEPolicy
from sam2act.policies.session import PolicySession
from tests.policies import noise

SMALL = (
    "depth 2 img_size 33 img_patch_size 11 im_channels 16 attn_dim 16 attn_heads 2 "
    "attn_dim_head 8 lang_len 4 lang_dim 8 final_dim 8 data.points 0 renderer.radius 0.1"
)
STEPS = 3  # of the tiny preset
NO_ENCODER = "encoder none encoder_ckpt '' encoder_trainable none lora_finetune False"
TERMS = ("trans_loss", "rot_loss_x", "rot_loss_y", "rot_loss_z", "grip_loss", "collision_loss")


def bundle(experiment_opts: str = "", network_opts: str = ""):
    experiment = load_experiment(
        "configs/tiny_sam_e.yaml", f"cameras [front,wrist] image_size 16 {experiment_opts}"
    )
    network = load_network("configs/mvt/tiny_sam_e.yaml", f"{SMALL} {network_opts}")
    return build_policy(experiment, network, seed=0)


def small(experiment_opts: str = "", network_opts: str = "") -> SamEPolicy:
    """A policy of the tiny preset, smaller still."""
    return bundle(experiment_opts, network_opts).policy


def sequences(valid: list[list[bool]] | None = None) -> KeyframeSequenceBatch:
    """Three samples; their later keyframes are those of the other samples."""
    batch = noise.batch()
    order = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    parts = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return KeyframeSequenceBatch(
        **parts,
        poses=batch.target_pose[order],
        grippers=batch.gripper_open[order],
        collisions=batch.ignore_collisions[order],
        valid=torch.ones(3, STEPS, dtype=torch.bool) if valid is None else torch.tensor(valid),
    )


def loss(policy: SamEPolicy, batch: KeyframeSequenceBatch):
    """With fixed draws."""
    draws = TrainingNoise.sample(3, torch.Generator().manual_seed(1))
    language = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    return policy.train().loss(batch, language, draws)


# --------------------------------------------------------------------------------------- losses
def test_every_trainable_parameter_gets_a_gradient() -> None:
    policy = small()
    found = loss(policy, sequences())
    assert tuple(found.terms) == policy.term_names == TERMS
    torch.testing.assert_close(found.total.detach(), torch.stack(list(found.terms.values())).sum())
    found.total.backward()
    assert [n for n, p in policy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_adapters_train_where_the_encoder_is_frozen() -> None:
    policy = small("", "encoder_trainable lora lora_finetune True lora_r 2")
    loss(policy, sequences()).total.backward()
    trained = {n for n, p in policy.network.encoders.named_parameters() if p.grad is not None}
    assert trained and all("linear_" in name for name in trained)


def test_terms_are_means_over_the_steps_that_there_are() -> None:
    policy = small()
    batch = sequences([[True, True, False], [True, False, False], [True, True, True]])
    found = loss(policy, batch)
    torch.manual_seed(0)
    draws = TrainingNoise.sample(3, torch.Generator().manual_seed(1))
    language = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(2))
    cloud, targets = policy.prepare(batch, draws)
    output = policy.network(
        cloud, batch.proprioception, language, policy.teacher_forcing(targets, draws)
    )
    heat, grip, collision = [], [], []
    for row, step in ((r, s) for r in range(3) for s in range(STEPS) if batch.valid[r, s]):
        maps = policy.heatmaps(targets.waypoint[row, step][None])[0]
        logits = output.heatmaps[row, :, step].flatten(1).log_softmax(-1)
        heat += [-(maps[v].flatten() * logits[v]).sum() for v in range(5)]
        scores = output.scores[row, step]
        grip.append(F.cross_entropy(scores[216:218], batch.grippers[row, step]))
        collision.append(F.cross_entropy(scores[218:], batch.collisions[row, step]))
    expected = (torch.stack(terms).mean() for terms in (heat, grip, collision))
    names = ("trans_loss", "grip_loss", "collision_loss")
    for name, value in zip(names, expected, strict=True):
        torch.testing.assert_close(found.terms[name], value.detach(), rtol=1e-4, atol=1e-5)


def test_what_stands_beyond_the_end_of_a_demo_has_no_influence() -> None:
    policy, valid = small(), [[True, False, False]] * 3
    batch = sequences(valid)
    changed = dataclasses.replace(
        batch,
        poses=torch.cat([batch.poses[:, :1], batch.poses[:, 1:].flip(0)], dim=1),
        grippers=torch.cat([batch.grippers[:, :1], 1 - batch.grippers[:, 1:]], dim=1),
    )
    assert loss(policy, batch).total == loss(policy, changed).total
    assert loss(policy, sequences()).total != loss(policy, batch).total


def test_masked_mean_spans_views() -> None:
    values = torch.arange(12.0).view(2, 2, 3)
    valid = torch.tensor([[True, False], [True, True]])
    assert masked_mean(values, valid) == torch.tensor([*range(3), *range(6, 12)]).float().mean()


# --------------------------------------------------------------------------------- augmentation
def test_later_keyframes_move_with_the_first_one() -> None:
    """One rigid motion: what lies between two grippers, seen from one of them, does not change."""
    policy = small("peract.transform_augmentation_rpy [0.,0.,45.]")
    batch = sequences()
    draws = TrainingNoise.sample(3, torch.Generator().manual_seed(1))
    settings = dataclasses.replace(policy.settings, bins=360)
    _, still = prepared(batch, draws, settings, training=False)
    _, moved = prepared(batch, draws, settings, training=True)

    def distances(waypoint: Tensor) -> Tensor:
        return (waypoint[:, 1:] - waypoint[:, :1]).norm(dim=-1)

    assert (moved.waypoint - still.waypoint).abs().max() > 0.02
    torch.testing.assert_close(distances(moved.waypoint), distances(still.waypoint))
    single, _ = prepared(noise.batch(), draws, settings, training=True)
    cloud, _ = prepared(batch, draws, settings, training=True)
    assert torch.equal(cloud.points, single.points)


def test_rotations_of_all_steps_turn_alike() -> None:
    policy = small("peract.transform_augmentation_rpy [0.,0.,45.]")
    batch = sequences()
    draws = TrainingNoise.sample(3, torch.Generator().manual_seed(1))
    settings = policy.settings
    motion = augmenting_motion(
        batch.target_pose,
        draws.augmentation,
        settings.bounds,
        settings.translation_range,
        settings.rotation_range,
    )
    moved = motion.of_poses(batch.poses.double())
    before, after = (
        matrix_from_quaternion_xyzw(canonical_quaternion(p[..., 3:])) for p in (batch.poses, moved)
    )
    turn = after @ before.double().mT
    torch.testing.assert_close(turn, turn[:, :1].expand_as(turn), atol=1e-5, rtol=0)


# --------------------------------------------------------------------------------------- acting
def test_each_step_is_decoded_as_a_keyframe() -> None:
    policy = small()
    prediction = policy.predict(noise.batch().observation(), torch.zeros(3, 4, 8))
    output, values = prediction.output, prediction.action.values
    assert values.shape == (3, STEPS, 9) and prediction.action.valid.all()
    positions = prediction.frame.to_world(output.waypoints)
    assert torch.equal(values[..., :3], positions)
    for step, scores in enumerate(output.scores.unbind(1)):
        peak = policy.network.peak(output.heatmaps[:, :, step])
        assert torch.equal(output.waypoints[:, step], peak)
        assert torch.equal(values[:, step, 7], scores[:, 216:218].argmax(-1).float())


def test_sequence_is_executed_without_looking() -> None:
    for opts, passes in (("", 2), ("execute_horizon 1", 4), ("execute_horizon 2", 2)):
        session = PolicySession(bundle("", opts))
        executor = build_executor(session.spec.executor, session)
        observation = noise.batch(1).observation()
        state = torch.tensor([[1.0, 0.04, 0.04, 1.0]])
        observation = dataclasses.replace(observation, proprioception=state)
        actions = [executor.act(observation, torch.zeros(1, 4, 8)) for _ in range(4)]
        assert executor.forward_passes == passes, opts
        assert all(action.values.shape == (1, 1, 9) for action in actions)


def test_spec_says_how_many_keyframes_a_sample_holds() -> None:
    spec = small("", "ah 4 execute_horizon 3").spec
    assert (spec.action.mode, spec.action.horizon) == ("keyframe_pose", 4)
    assert spec.executor == "open_loop(k=3)"


# ----------------------------------------------------------------------------------------- keys
@pytest.mark.parametrize(
    ("opts", "said"),
    [
        ("execute_horizon 6", "execute_horizon: 6 must be between 1 and ah, which is 5"),
        ("ah 0", "ah must be at least 1"),
        (NO_ENCODER, "policy: rvt"),
        ("ifsep True", r"ifsep: False.*start from configs/mvt/sam_e\.yaml"),
        ("ifSAM False", "ifSAM: True"),
    ],
)
def test_impossible_keys(opts: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_network("configs/mvt/sam_e.yaml", opts)


def test_pretrained_weights_are_required_unless_random_is_asked_for(tmp_path) -> None:
    experiment = load_experiment("configs/tiny_sam_e.yaml")
    absent = load_network("configs/mvt/tiny_sam_e.yaml", f"{SMALL} encoder_ckpt {tmp_path}/a.pth")
    with pytest.raises(ConfigError, match=r"encoder_ckpt: .*a\.pth not found.*encoder_ckpt random"):
        build_policy(experiment, absent, pretrained=True)
    network = load_network("configs/mvt/tiny_sam_e.yaml", SMALL)
    assert build_policy(experiment, network, pretrained=True).policy.network.encoder is not None


def test_released_keys_without_effect() -> None:
    network = load_network("configs/mvt/sam_e.yaml", "fusion_up True inp_pre_con False")
    assert dataclasses.replace(network, fusion_up=False, inp_pre_con=True) == load_network(
        "configs/mvt/sam_e.yaml"
    )


def test_published_experiment() -> None:
    experiment = load_experiment("configs/sam_e.yaml")
    samples = experiment.bs * 4
    assert samples == SamEPolicy.published_samples.fget(None) == 40
    assert experiment.epochs * (experiment.train_iter // samples) == 60_000
    assert experiment.peract.lr * samples == pytest.approx(4e-3)
    assert not experiment.peract.amp and not experiment.peract.bnb
