"""The replay buffer: what it gives back, across episodes, its end and a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.training.online.replay import ReplayBuffer

SIDE = 4


def picture(number: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), number, np.uint8)


def filled(folder: Path, episodes: int = 2, capacity: int = 100) -> ReplayBuffer:
    """Episodes of five actions; moment k shows k, its reward is k, its action k / 100."""
    replay = ReplayBuffer(folder, capacity, SIDE, 2, frames=3)
    for _ in range(episodes):
        replay.begin()
        for _ in range(5):
            k = replay.count
            replay.add(picture(k), np.full(2, k / 100), float(k), 1.0)
        replay.end(picture(replay.count))
    return replay


def test_samples_are_sums_over_steps_within_one_episode(tmp_path: Path) -> None:
    batch = filled(tmp_path).sample(64, steps=3, discount=0.5, random=np.random.default_rng(0))
    now = (batch.action[:, 0] * 100).round().long()
    assert set(now.tolist()) == {0, 1, 2, 6, 7, 8}
    expected = now + 0.5 * (now + 1) + 0.25 * (now + 2)
    torch.testing.assert_close(batch.reward[:, 0], expected)
    assert (batch.discount == 0.125).all()
    shown = batch.pixels[:, ::3, 0, 0].long()  # first colour of the three frames
    first = torch.where(now < 6, 0, 6)
    for frame, offset in enumerate((-2, -1, 0)):
        assert shown[:, frame].equal(torch.maximum(now + offset, first))
    assert batch.next_pixels[:, -1, 0, 0].long().equal(now + 3)


def test_an_end_for_good_has_no_later_value(tmp_path: Path) -> None:
    replay = ReplayBuffer(tmp_path, 10, SIDE, 1, frames=1)
    for k in range(3):
        replay.add(picture(k), np.zeros(1), 1.0, 0.0 if k == 1 else 1.0)
    replay.end(picture(3))
    batch = replay.sample(8, steps=3, discount=0.9, random=np.random.default_rng(0))
    assert (batch.discount == 0).all()
    torch.testing.assert_close(batch.reward, torch.full((8, 1), 1.9))  # nothing after the end


def test_the_oldest_moments_make_room(tmp_path: Path) -> None:
    replay = filled(tmp_path, episodes=4, capacity=13)  # 24 moments
    assert len(replay) == 13 and replay.count == 24
    batch = replay.sample(64, steps=2, discount=1.0, random=np.random.default_rng(0))
    now = (batch.action[:, 0] * 100).round().long()
    assert int(now.min()) >= 11
    oldest = batch.pixels[:, 0, 0, 0].long()
    assert int(oldest.min()) >= 11  # no frame of a moment that is gone


def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    replay = filled(tmp_path)
    replay.flush()
    again = ReplayBuffer(tmp_path, 100, SIDE, 2, frames=3)
    assert again.count == replay.count
    one, other = (r.sample(8, 3, 0.9, np.random.default_rng(1)) for r in (replay, again))
    assert one.pixels.equal(other.pixels) and one.reward.equal(other.reward)
    with pytest.raises(ConfigError, match="holds moments of"):
        ReplayBuffer(tmp_path, 50, SIDE, 2, frames=3)


def test_too_few_moments_are_told(tmp_path: Path) -> None:
    replay = filled(tmp_path, episodes=1)
    with pytest.raises(ValueError, match="no 4 transitions of 9 steps"):
        replay.sample(4, steps=9, discount=1.0, random=np.random.default_rng(0))
