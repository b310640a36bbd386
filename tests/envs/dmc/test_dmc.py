"""DeepMind Control and Adroit as environments, on stand-ins for their simulators."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam2act.cli import mask_reference
from sam2act.core.errors import ConfigError
from sam2act.envs.adroit import backend as adroit
from sam2act.envs.base import EnvConfig, InvalidActionError
from sam2act.envs.dmc import backend
from sam2act.envs.dmc.env import GEOM, DMControlEnv
from sam2act.envs.dmc.levels import FLOOR, ROBOT, SKY, Films, changed, made_film, sample_changes
from sam2act.envs.dmc.options import LEVELS, Options
from sam2act.envs.video import write_video
from sam2act.processing.sam_g.reference_files import read_references

SIDE = 16
BANDS = {SKY: slice(0, 6), FLOOR: slice(6, 12), ROBOT: slice(12, 16)}  # rows of the picture


class Suite:
    """Stands in for an environment of dm_control: bands of sky, floor and robot."""

    def __init__(self, frames: int = 5) -> None:
        self._left = frames
        self.actions: list[np.ndarray] = []
        self.task = SimpleNamespace(random=np.random.RandomState(0))
        self.physics = SimpleNamespace(
            render=self._render, model=SimpleNamespace(geom_bodyid=np.array([0, 1]))
        )

    def reset(self) -> None:
        self.closed = False

    def action_spec(self) -> Any:
        return SimpleNamespace(minimum=np.array([0.0]), maximum=np.array([4.0]))

    def step(self, action: np.ndarray) -> Any:
        self.actions.append(action)
        self._left -= 1
        last = self._left == 0
        return SimpleNamespace(reward=0.5, discount=1.0, last=lambda: last)

    def close(self) -> None:
        self.closed = True

    def _render(self, height: int, width: int, camera_id: int, segmentation: bool = False) -> Any:
        if not segmentation:
            return np.full((height, width, 3), 100, np.uint8)
        objects = np.full((height, width, 2), -1)
        objects[BANDS[FLOOR]], objects[BANDS[ROBOT]] = (0, GEOM), (1, GEOM)
        return objects


def opened(level: str = "original", *, masks: bool = False, **options: Any) -> tuple[Any, Suite]:
    config = EnvConfig(
        *("cartpole_swingup", "dmc", ("camera",)),
        image_size=SIDE,
        masks=masks,
        options=Options(level=level, **options),
    )
    suite = Suite()
    return DMControlEnv(config, backend.spec(config), lambda *_: suite), suite


def test_an_action_is_scaled_and_repeated_until_the_episode_ends() -> None:
    env, suite = opened(action_repeat=3)
    instructions, frame = env.reset(0, seed=4)
    assert instructions == ["cartpole swingup"] and frame.rgb["camera"].shape == (SIDE, SIDE, 3)
    result = env.step(np.array([0.5]), "raw")
    assert result.reward == 1.5 and not result.terminal
    assert np.allclose(suite.actions, [[3.0]] * 3)
    result = env.step(np.array([-1.0]), "raw")
    assert result.reward == 1.0 and result.terminal and result.info["discount"] == 1.0
    with pytest.raises(InvalidActionError, match=r"shape \(2,\)"):
        env.step(np.zeros(2), "raw")
    with pytest.raises(ConfigError, match="control"):
        env.step(np.zeros(1), "ee_pose")


def test_the_reference_of_a_task_masks_the_robot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make(config: EnvConfig) -> DMControlEnv:
        return DMControlEnv(config, backend.spec(config), lambda *_: Suite())

    monkeypatch.setattr(mask_reference, "make_env", make)
    flags = ["--backend", "dmc", "--task", "cartpole_swingup", "--image-size", str(SIDE)]
    assert mask_reference.main([*flags, "--output", str(tmp_path)]) == 0
    (reference,) = read_references(tmp_path, "camera")
    assert reference.mask[BANDS[ROBOT]].all() and not reference.mask[: BANDS[ROBOT].start].any()
    assert reference.view.objects is not None and reference.view.objects.unique().tolist() == [0, 2]


def test_what_it_gives_is_known_without_a_simulator() -> None:
    config = EnvConfig("walker_walk", "dmc", ("camera",), image_size=84)
    spec = backend.spec(config)
    assert spec.actions[0].size == 6 and spec.actions[0].rate == 1 / 0.05
    assert spec.episode_length == 500 and not spec.camera_specs[0].depth
    assert len(backend.tasks()) == 8
    with pytest.raises(ConfigError, match="'walker_run' is not in backend dmc"):
        backend.spec(dataclasses.replace(config, task="walker_run"))
    with pytest.raises(ConfigError, match="level"):
        Options(level="hard")


@pytest.mark.parametrize("level", LEVELS)
def test_levels_change_what_they_should_and_depend_on_the_seed(level: str) -> None:
    env, _ = opened(level)
    usual = np.full((SIDE, SIDE, 3), 100, np.uint8)
    first, again, other = (env.reset(0, seed)[1].rgb["camera"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    changes = {band: not np.array_equal(first[rows], usual[rows]) for band, rows in BANDS.items()}
    expected = {
        "original": (False, False, False),
        "color_easy": (True, True, True),
        "color_hard": (True, True, True),
        "video_easy": (True, False, False),
        "video_hard": (True, True, False),
    }[level]
    assert (changes[SKY], changes[FLOOR], changes[ROBOT]) == expected
    assert np.array_equal(first, other) == (level == "original")


def test_easy_colours_are_nearer_to_the_usual_ones() -> None:
    films, distance = Films("", lambda *_: np.zeros(0)), {}
    for level in ("color_easy", "color_hard"):
        drawn = [sample_changes(level, SIDE, np.random.default_rng(s), films) for s in range(20)]
        factors = np.array([one.colors[what] for one in drawn for what in BANDS])
        distance[level] = np.abs(np.log(factors)).mean()
    assert 2 * distance["color_easy"] < distance["color_hard"]


def test_masks_are_numbers_of_the_robots_shapes() -> None:
    env, _ = opened(masks=True)
    frame = env.reset(0, 0)[1]
    mask = frame.mask["camera"]
    assert (mask[BANDS[ROBOT]] == 2).all() and not mask[:12].any()
    assert env.spec.camera_specs[0].mask


def test_films_run_forth_and_back_and_may_come_from_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="mp4 needs PyAV (extra sim)")
    pictures = [np.full((32, 48, 3), level, np.uint8) for level in (30, 120, 210)]
    write_video(tmp_path / "grey.mp4", pictures, rate=10)
    env, _ = opened("video_hard", videos=str(tmp_path), action_repeat=1)
    frames = [env.reset(0, 0)[1]]
    frames += [env.step(np.zeros(1), "raw").observation for _ in range(4)]
    sky = np.array([frame.rgb["camera"][0, 0, 0] for frame in frames], int)
    assert np.abs(sky - [30, 120, 210, 120, 30]).max() < 8  # levels lost by compression
    with pytest.raises(ConfigError, match="holds no mp4 file"):
        opened("video_easy", videos=str(tmp_path / "nowhere"))


def test_made_films_move() -> None:
    film = made_film(SIDE, np.random.default_rng(0), frames=4)
    assert film.shape == (4, SIDE, SIDE, 3) and not np.array_equal(film[0], film[3])
    shows = np.zeros((SIDE, SIDE), int)
    changes = sample_changes(
        "video_hard", SIDE, np.random.default_rng(0), Films("", lambda *_: film)
    )
    usual = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert not np.array_equal(changed(usual, shows, changes, 0), changed(usual, shows, changes, 9))


class Gym:
    """Stands in for an environment of gymnasium."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.actions: list[np.ndarray] = []

    def reset(self, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        self.seeds.append(seed)
        return np.zeros(3), {}

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        self.actions.append(action)
        return np.zeros(3), 2.0, False, len(self.actions) >= 3, {"success": len(self.actions) > 1}

    def render(self) -> np.ndarray:
        return np.full((SIDE, SIDE, 3), 9, np.uint8)

    def close(self) -> None:
        pass


def test_adroit_keeps_the_contract_of_environments() -> None:
    config = EnvConfig("adroit_pen", "adroit", ("camera",), image_size=SIDE)
    spec = adroit.spec(config)
    assert spec.actions[0].size == 24 and spec.episode_length == 100
    made = Gym()
    env = adroit.AdroitEnv(config, spec, made)
    instructions, frame = env.reset(0, seed=7)
    assert instructions == ["adroit pen"] and made.seeds == [7]
    assert frame.rgb["camera"].shape == (SIDE, SIDE, 3)
    first = env.step(np.zeros(24), "raw")
    assert first.reward == 4.0 and first.info["success"] and not first.terminal
    second = env.step(np.full(24, 0.5), "raw")
    assert second.terminal and second.reward == 2.0 and second.info["discount"] == 1.0
    assert made.actions[-1].dtype == np.float32
    with pytest.raises(ConfigError, match="'pen' is not in backend adroit"):
        adroit.check_task("pen")
