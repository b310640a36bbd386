"""PushT: scenes by seed, graded rewards, recorded states; skipped without gym-pusht."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sam2act.core.errors import ConfigError, MissingSimulatorError
from sam2act.envs.base import EnvConfig, NumbersScenes
from sam2act.envs.pusht import backend
from sam2act.envs.registry import env_spec, make_env
from tests.places import REPOSITORY

needs_simulator = pytest.mark.skipif(bool(backend.problem()), reason="gym-pusht is not installed")
CONFIG = EnvConfig("pusht", backend="pusht", cameras=("img",), image_size=96)


@pytest.fixture
def env() -> Iterator[object]:
    made = make_env(CONFIG)
    yield made
    made.close()


def test_what_is_known_without_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = env_spec(CONFIG)
    assert spec.actions[0].rate == 10 and spec.actions[0].size == 2
    assert spec.episode_length == 300 and not spec.camera_specs[0].depth
    with pytest.raises(ConfigError, match="has the task pusht, not pushl"):
        backend.check_task("pushl")
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    with pytest.raises(MissingSimulatorError, match=r"pip install 'sam2act\[pusht\]'"):
        make_env(CONFIG)


def test_start_states_are_those_of_the_published_runner() -> None:
    from sam2act.envs.pusht.env import goal_pose, start_state

    random = np.random.RandomState(100000)
    expected = [random.randint(50, 450), random.randint(50, 450)]
    expected += [random.randint(100, 400), random.randint(100, 400)]
    expected.append(random.randn() * 2 * np.pi - np.pi)
    assert start_state(100000).tolist() == [float(value) for value in expected]
    goals = np.array([goal_pose(seed) for seed in range(200)])
    assert (abs(goals[:, :2] - 256) <= 100).all() and np.ptp(goals[:, :2], axis=0).min() > 150


@needs_simulator
def test_scenes_follow_from_their_seeds_and_rewards_never_fall(env) -> None:  # type: ignore[no-untyped-def]
    assert isinstance(env, NumbersScenes) and env.seed_of(100000, 7) == 100007
    _, frame = env.reset(0, 100007)
    _, again = env.reset(0, 100007)
    _, other = env.reset(0, 100008)
    assert np.array_equal(frame.rgb["img"], again.rgb["img"])
    assert not np.array_equal(frame.rgb["img"], other.rgb["img"])
    assert frame.rgb["img"].shape == (96, 96, 3) and frame.state["state"].shape == (5,)
    env.reset(0, 100007)
    env.start_film(2)
    places = np.random.default_rng(0).uniform(0, 512, (12, 2))
    results = [env.step(place, "raw") for place in places]
    rewards = [result.reward for result in results]
    assert rewards == sorted(rewards)
    covered = [min(result.info["coverage"] / 0.95, 1) for result in results]
    assert rewards[-1] == pytest.approx(max(covered))
    assert len(env.stop_film()) == 13


@needs_simulator
def test_targets_may_lie_anywhere() -> None:
    from dataclasses import replace

    made = make_env(replace(CONFIG, options=backend.Options(fix_goal=False)))
    pictures = [made.reset(0, seed)[1].rgb["img"] for seed in (1, 2)]
    fixed = make_env(CONFIG)
    assert not np.array_equal(pictures[0], fixed.reset(0, 1)[1].rgb["img"])
    assert not np.array_equal(*pictures)


@needs_simulator
def test_recorded_people_are_replayed_exactly(env) -> None:  # type: ignore[no-untyped-def]
    zarr = pytest.importorskip("zarr")
    default = REPOSITORY.parent / "shared" / "pusht"
    folder = Path(os.environ.get("SAM2ACT_PUSHT_DIR") or default)
    buffer = folder / "pusht_cchi_v7_replay.zarr"
    if not buffer.is_dir():
        pytest.skip(f"no recorded PushT: {buffer} is absent (set SAM2ACT_PUSHT_DIR)")
    data = zarr.open_group(str(buffer), mode="r")
    end = int(data["meta/episode_ends"][0])
    states, actions = data["data/state"][:end], data["data/action"][:end]
    frame = env.restore(states[0])[1]
    reached = [frame.state["state"]]
    for action in actions[:40]:
        result = env.step(action, "raw")
        reached.append(result.observation.state["state"])
    apart = np.abs(np.array(reached)[:41, :4] - states[:41, :4])
    assert apart.max() < 1.0
