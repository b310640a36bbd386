"""The Colosseum's indices: its targets, ranges and names, on the tasks that it has."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.core.errors import ConfigError
from sam2act.core.tasks import COLOSSEUM_INDICES, COLOSSEUM_TASKS, expand_tasks, has_index
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.perturbations.colosseum import Strategy
from sam2act.envs.embedded.sim import EmbeddedEnv

TASK = "open_drawer"


def env_under(index: int, task: str = TASK) -> EmbeddedEnv:
    return EmbeddedEnv(EnvConfig(f"{task}_{index}", image_size=32, cameras=("front",)))


def colors_of(env: EmbeddedEnv, name: str) -> np.ndarray:
    return env.model.geom_rgba[env.scene.geoms(name), :3]


def test_there_are_eighteen_indices_and_each_task_has_those_it_can_have() -> None:
    assert len(COLOSSEUM_INDICES) == 18
    counts = {task: sum(has_index(task, i) for i in range(18)) for task in COLOSSEUM_TASKS}
    assert counts == {
        "insert_onto_square_peg": 17,
        "open_drawer": 14,
        "place_wine_at_rack_location": 17,
        "put_money_in_safe": 17,
        "reach_and_drag": 18,
        "stack_cups": 15,
    }
    assert "open_drawer_3" not in expand_tasks("colosseum_3")
    assert len(expand_tasks("colosseum_2")) == len(expand_tasks("colosseum")) == 6


@pytest.mark.parametrize("task", COLOSSEUM_TASKS)
def test_factors_of_an_index_are_those_of_the_task(task: str) -> None:
    for index in range(18):
        if not has_index(task, index):
            with pytest.raises(ConfigError, match=f"{task}_{index}"):
                Strategy(task, index)
            continue
        names = Strategy(task, index).names
        if index in (0, 13):
            assert names == ()
        elif index in (1, 15):
            assert {"light_color", "distractor_object", "camera_pose"} < set(names)
            assert "light_direction" not in names
        elif index in (16, 17):  # every task has them, most have nothing to change
            assert bool(names) == (task == "reach_and_drag")
        else:
            assert len(names) == 1


def test_only_variation_0_occurs_but_under_two_indices() -> None:
    assert [env_under(index).variation_count() for index in (0, 2, 13, 15)] == [1, 1, 3, 3]


def test_colors_are_the_published_ones_without_jitter_one_per_target() -> None:
    env = env_under(2)
    seen = set()
    for seed in range(6):
        env.begin_episode(0, seed)
        for part in ("drawer_frame", "drawer_top"):
            colors = colors_of(env, part)
            assert np.isin(colors, (0.0, 0.5, 0.75, 1.0)).all()
            assert (colors == colors[0]).all()
            seen.add(tuple(colors[0]))
    assert len(seen) > 3


def test_size_stays_in_its_range_and_the_chest_on_its_legs() -> None:
    plain, scaled = env_under(0), env_under(6)
    plain.begin_episode(0, 0)
    bottom = plain.scene.frames.box("drawer_legs")[0, 2]
    factors = []
    for seed in range(5):
        scaled.begin_episode(0, seed)
        factors.append(dict(scaled.task.options.scales)["drawer_frame"])
        assert scaled.scene.frames.box("drawer_legs")[0, 2] == pytest.approx(bottom, abs=1e-4)
        width = np.ptp(
            scaled.scene.frames.box("drawer_frame", scaled.scene.frames.pose("open_drawer")), axis=0
        )[0]
        assert width == pytest.approx(factors[-1] * 0.3826, abs=3e-3)
    assert min(factors) >= 0.75 and max(factors) <= 1 and np.ptp(factors) > 0.02


def test_distractors_lie_in_the_area_apart_from_each_other() -> None:
    env = env_under(11)
    placed = 0
    for seed in range(6):
        env.begin_episode(0, seed)
        base = np.linalg.inv(env.scene.frames.pose("open_drawer"))
        spots = []
        for number in range(2):
            spot = base @ [*env.scene.position(f"added{number}"), 1]
            if abs(spot[0]) < 1:  # else it found no place
                assert abs(spot[0]) <= 0.25 + 0.02 and abs(spot[1] - 0.325) <= 0.1 + 0.02
                spots.append(spot[:2])
        placed += len(spots)
        if len(spots) == 2:
            assert np.linalg.norm(spots[0] - spots[1]) >= 0.045
    assert placed >= 4


def test_lamps_get_dimmer_and_what_comes_from_everywhere_stays() -> None:
    plain, dark = env_under(0), env_under(8)
    images = [env.reset(0, 3)[1].front_rgb.astype(float) for env in (plain, dark)]
    assert (dark.camera.shader.lamp_color <= 0.5).all()
    ratio = images[1].mean() / images[0].mean()
    assert 0.3 < ratio < 0.85


def test_mass_is_absolute_and_friction_relative_to_the_published_one() -> None:
    env = env_under(17, "reach_and_drag")
    masses = []
    for seed in range(4):
        env.begin_episode(0, seed)
        masses.append(float(env.model.body("cube").mass[0]))
    assert min(masses) >= 0.5 and max(masses) <= 2.5 and np.ptp(masses) > 0.05
    plain, slippery = env_under(0, "reach_and_drag"), env_under(16, "reach_and_drag")
    plain.begin_episode(0, 0), slippery.begin_episode(0, 0)
    geom = plain.scene.geoms("cube")[0]
    ratio = slippery.model.geom_friction[geom] / plain.model.geom_friction[geom]
    assert (ratio >= 1.5).all() and (ratio <= 2).all()


def test_layout_is_that_of_the_unperturbed_index() -> None:
    plain, perturbed = env_under(0), env_under(2)
    plain.begin_episode(0, 5), perturbed.begin_episode(0, 5)
    assert np.allclose(plain.scene.frames.state(), perturbed.scene.frames.state(), atol=1e-6)


def test_index_and_factors_exclude_each_other() -> None:
    options = Options(perturbations=("table_color",))
    with pytest.raises(ConfigError, match="leave --perturb table_color out"):
        EmbeddedEnv(EnvConfig("open_drawer_2", options=options))
