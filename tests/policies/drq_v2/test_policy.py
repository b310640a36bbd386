"""DrQ-v2: sizes, augmentation, one update, noise, acting in a session, SVEA."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import PolicyBundle, build_policy
from sam2act.policies.drq_v2.augmentation import random_overlay, random_shift
from sam2act.policies.drq_v2.config import DrQv2Config
from sam2act.policies.drq_v2.policy import DrQv2Policy, stacked
from sam2act.policies.observations import random_observation
from sam2act.policies.online import Transitions
from sam2act.policies.session import PolicySession

SMALL = DrQv2Config(image_size=21, channels=4, feature_dim=8, hidden_dim=16, action_size=2, shift=2)


def built(config: DrQv2Config = SMALL) -> DrQv2Policy:
    policy = build_policy(ExperimentConfig(), config).policy
    assert isinstance(policy, DrQv2Policy)
    return policy


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(config: DrQv2Config = SMALL, count: int = 8) -> Transitions:
    random, side = seeded(5), config.image_size
    pixels = torch.randint(256, (2, count, 9, side, side), generator=random, dtype=torch.uint8)
    action = torch.rand(count, config.action_size, generator=random) * 2 - 1
    reward = torch.rand(count, 1, generator=random)
    return Transitions(pixels[0], action, reward, torch.full((count, 1), 0.97), pixels[1])


def test_published_sizes() -> None:
    """84 pixels, three frames: 39,200 features; parameters of the published modules by hand."""
    policy = built(DrQv2Config(action_size=6))
    assert policy.encoder.size == 32 * 35 * 35
    numbers = {
        name: sum(p.numel() for p in getattr(policy, name).parameters())
        for name in ("encoder", "actor", "critic")
    }
    trunk = 39200 * 50 + 50 + 100
    head = 50 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 6 + 6
    estimate = 56 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 + 1
    convolutions = 9 * 32 * 9 + 32 + 3 * (32 * 32 * 9 + 32)
    assert numbers == {
        "encoder": convolutions,
        "actor": trunk + head,
        "critic": trunk + 2 * estimate,
    }


def test_shift_moves_whole_pixels_and_repeats_the_border() -> None:
    pixels = torch.arange(25.0).view(1, 1, 5, 5).expand(200, 3, 5, 5)
    moved = random_shift(pixels, 1, seeded())
    assert moved.shape == pixels.shape
    corners = moved[:, 0, 2, 2]  # where the middle, 12, may have come from
    rows, columns = corners.long() // 5 - 2, corners.long() % 5 - 2
    assert set(rows.tolist()) == set(columns.tolist()) == {-1, 0, 1}
    down = moved[(rows == 1) & (columns == 0)][0, 0]
    assert down[:4].equal(pixels[0, 0, 1:]) and down[4].equal(pixels[0, 0, 4])
    assert random_shift(pixels, 0, seeded()).equal(pixels)


def test_overlay_mixes_one_picture_into_all_frames() -> None:
    pixels = torch.zeros(2, 9, 8, 8)
    pictures = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)
    assert random_overlay(pixels, 0.5, seeded(), pictures).eq(100).all()
    made = random_overlay(pixels, 0.5, seeded())
    assert made[:, :3].equal(made[:, 3:6]) and not made[0].equal(made[1])
    assert float(made.min()) >= 0 and float(made.max()) <= 127.5


def test_an_update_trains_every_part_and_the_target_follows_slowly() -> None:
    policy = built()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    figures = policy.update(batch(), 0, seeded())
    assert all(math.isfinite(value) for value in figures.values()) and figures["stddev"] == 1.0
    after = policy.state_dict()
    unchanged = [name for name in before if before[name].equal(after[name])]
    assert unchanged == []
    name = "head" if "target.head" in after else "first.0.weight"
    tau = policy.config.tau
    expected = (1 - tau) * before[f"target.{name}"] + tau * after[f"critic.{name}"]
    torch.testing.assert_close(after[f"target.{name}"], expected)


def test_the_critic_learns_the_value_of_a_known_end() -> None:
    """Where nothing follows, the estimate tends to the reward."""
    policy = built(dataclasses.replace(SMALL, lr=3e-3, shift=0))
    data = dataclasses.replace(batch(), discount=torch.zeros(8, 1))
    losses = [policy.update(data, 0, seeded(i))["critic_loss"] for i in range(40)]
    assert losses[-1] < 0.2 * losses[0]


def test_svea_also_learns_from_overlaid_pictures() -> None:
    plain, svea = built(), built(dataclasses.replace(SMALL, algorithm="svea"))
    svea.load_state_dict(plain.state_dict())
    one, other = (policy.update(batch(), 0, seeded()) for policy in (plain, svea))
    assert one["critic_loss"] != other["critic_loss"] and one["value"] == other["value"]


def test_noise_follows_its_schedule_and_stays_in_range() -> None:
    config = dataclasses.replace(SMALL, stddev_schedule="linear(1.0,0.1,100)")
    assert [round(config.stddev(step), 3) for step in (0, 50, 100, 1000)] == [1.0, 0.55, 0.1, 0.1]
    policy = built(config)
    pixels = batch(count=64).pixels
    mean = policy.actor(policy.encoder(pixels.float()))
    early, late = (policy.explore(pixels, step, seeded()) for step in (0, 100))
    assert early.abs().max() <= 1 and (early - mean).std() > 3 * (late - mean).std()
    with pytest.raises(ConfigError, match="stddev_schedule"):
        dataclasses.replace(SMALL, stddev_schedule="cosine(1,2)")


def test_it_acts_in_a_session_on_the_last_frames() -> None:
    policy = built()
    session = PolicySession(PolicyBundle(policy, ExperimentConfig(), SMALL))
    seen = random_observation(session.spec, 3, seeded())
    assert seen.rgb.shape == (3, 3, 1, 21, 21, 3)
    chunk = session.act(seen, ["", "", ""])
    assert chunk.values.shape == (3, 1, 2) and chunk.space == "raw"
    expected = policy.actor(policy.encoder(stacked(seen.rgb)))
    torch.testing.assert_close(chunk.values[:, 0], expected.detach())
    assert stacked(seen.rgb)[0, 3:6].equal(seen.rgb[0, 1, 0].permute(2, 0, 1).float())


def test_it_is_not_trained_on_demonstrations() -> None:
    with pytest.raises(ConfigError, match="use sam2act rl-train"):
        DrQv2Policy.check_stage(1, ExperimentConfig(), SMALL)
