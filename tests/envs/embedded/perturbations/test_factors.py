"""Perturbation factors: each changes what it names and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.envs.base import EnvConfig, EnvError
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.perturbations.factors import FACTORS, check_factors, factors_of
from sam2act.envs.embedded.sensors.camera import CAMERA_SPECS
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.embedded.tasks import task_class, task_names

TASK = "stack_blocks"
# Where these have something to change.
OTHER_TASKS = {"object_color": "sweep_to_dustpan_of_size", "object_texture": "put_item_in_drawer"}
INVISIBLE = {"object_mass", "object_friction"}


def env_with(*factors: str, task: str = TASK, image_size: int = 64) -> EmbeddedEnv:
    return EmbeddedEnv(
        EnvConfig(
            task, options=Options(perturbations=factors), image_size=image_size, cameras=("front",)
        )
    )


def layout(env: EmbeddedEnv) -> np.ndarray:
    """Where the task's own things are."""
    names = [env.model.body(number).name for number in range(1, env.model.nbody)]
    kept = [name for name in names if not name.startswith("added")]
    return np.array([env.model.body(name).pos[:2] for name in kept])


@pytest.mark.parametrize("factor", sorted(set(FACTORS) - INVISIBLE))
def test_factor_changes_the_picture(factor: str) -> None:
    task = OTHER_TASKS.get(factor, TASK)
    plain, perturbed = env_with(task=task), env_with(factor, task=task)
    changed = []
    for seed in range(3):  # one of the textures is plain
        images = [env.reset(1, seed)[1].front_rgb.astype(int) for env in (plain, perturbed)]
        changed.append((np.abs(images[0] - images[1]).max(axis=-1) > 8).sum())
    assert max(changed) >= 5


@pytest.mark.parametrize("factor", FACTORS)
def test_factor_is_repeatable_and_differs_between_seeds(factor: str) -> None:
    def numbers(seed: int) -> np.ndarray:
        env = env_with(factor, task=OTHER_TASKS.get(factor, TASK))
        env.reset(1, 99)  # an unrelated episode leaves no trace
        image = env.reset(1, seed)[1].front_rgb.astype(float)
        return np.concatenate([image.ravel(), env.model.body_mass, env.model.geom_friction.ravel()])

    assert np.array_equal(numbers(1), numbers(1))
    seeds = [numbers(seed) for seed in (1, 2)]
    assert seeds[0].shape != seeds[1].shape or not np.array_equal(*seeds)


def test_layout_does_not_depend_on_perturbations() -> None:
    plain, perturbed = env_with(), env_with("table_color", "camera_pose", "object_mass")
    plain.reset(3, 4), perturbed.reset(3, 4)
    assert np.abs(plain.data.qpos - perturbed.data.qpos).max() < 1e-5  # they settle a little
    assert np.array_equal(layout(plain), layout(perturbed))


def test_factors_do_not_disturb_each_other() -> None:
    alone, together = env_with("light_color"), env_with("table_color", "light_color")
    alone.reset(3, 4), together.reset(3, 4)
    assert np.array_equal(alone.camera.shader.lamp_color, together.camera.shader.lamp_color)


def test_reset_restores_everything_that_was_changed() -> None:
    factors = {name for name, factor in FACTORS.items() if factor.effect is not None}
    env = env_with(*factors)
    fresh = EmbeddedEnv(env.config)
    env.reset(3, 0)
    assert not np.array_equal(env.model.body_mass, fresh.model.body_mass)
    env.restore()
    for name in dir(env.model):
        value = getattr(env.model, name)
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(fresh.model, name)), name
    assert env.camera.specs == dict(CAMERA_SPECS)
    shaders = (vars(env.camera.shader), vars(fresh.camera.shader))
    for name in ("textures", "lamp_color", "sun_direction"):
        assert np.array_equal(shaders[0][name], shaders[1][name]), name


def test_camera_pose_is_reported_truthfully() -> None:
    env = EmbeddedEnv(
        EnvConfig(TASK, options=Options(perturbations=("camera_pose",)), point_clouds=True)
    )
    observation = env.reset(3, 1)[1]
    shift = observation.misc["front_camera_extrinsics"] - CAMERA_SPECS["front"].pose
    assert 0 < np.abs(shift[:3, 3]).max() <= 0.1
    cloud = observation.front_point_cloud
    table = np.abs(cloud[..., 2] - 0.75) < 1e-3
    assert table.mean() > 0.2  # the table is still where it is
    assert np.array_equal(env.camera.specs["overhead"].pose, CAMERA_SPECS["overhead"].pose)
    wrist = np.linalg.inv(observation.gripper_matrix) @ observation.misc["wrist_camera_extrinsics"]
    assert np.allclose(wrist, CAMERA_SPECS["wrist"].pose)


def test_sizes_stay_in_the_declared_range() -> None:
    env = env_with("object_size")
    low, high = env._task_class.object_sizes
    scales = []
    for seed in range(8):
        env.begin_episode(0, seed)
        scales.append(env.task.options.object_scale)
    assert low <= min(scales) < max(scales) <= high


def test_mass_and_friction_scale_the_manipulated_object_only() -> None:
    plain, heavy = env_with(), env_with("object_mass", "object_friction")
    plain.reset(3, 0), heavy.reset(3, 0)
    moved = {name for name in heavy.task.manipulated}
    for number in range(plain.model.nbody):
        ratio = heavy.model.body_mass[number] / max(plain.model.body_mass[number], 1e-9)
        name = plain.model.body(number).name
        if plain.model.body_mass[number] > 0 and name not in moved:
            assert ratio == pytest.approx(1), name
    ratios = [heavy.model.body(n).mass[0] / plain.model.body(n).mass[0] for n in moved]
    assert min(ratios) >= 0.5 and max(ratios) <= 2 and not np.isclose(ratios[0], 1)


def test_distractors_stand_apart_and_leave_the_way_free() -> None:
    env = env_with("distractor_object")
    counts = set()
    for seed in range(6):
        env.begin_episode(5, seed)
        spots = [env.scene.position(f"added{i}") for i in range(len(env._build.distractors))]
        counts.add(len(spots))
        waypoints = np.array([point.pose[:2] for point in env.task.waypoints(env.scene)])
        for spot in spots:
            assert np.linalg.norm(waypoints - spot[:2], axis=1).min() > 0.06
            assert 0.75 < spot[2] < 0.79
    assert counts == {1, 2, 3}


def test_names_are_checked_and_ordered() -> None:
    assert check_factors(["camera_pose", "all"]) == ("all", "camera_pose")
    names = ["table_color", "object_color", "table_color"]
    assert check_factors(names) == ("object_color", "table_color")
    with pytest.raises(ValueError, match="tabel_color unknown; did you mean table_color"):
        check_factors(["tabel_color"])
    with pytest.raises(ValueError, match="perturbation moonlight unknown"):
        check_factors(["moonlight"])


@pytest.mark.parametrize("task", task_names())
def test_all_means_the_factors_of_the_colosseum(task: str) -> None:
    found, extra = factors_of(["all"], task_class(task)), factors_of(["extra"], task_class(task))
    everywhere = {"light_color", "table_color", "table_texture", "background_texture"}
    everywhere |= {"distractor_object", "camera_pose"}
    assert everywhere <= set(found) and "light_direction" in extra
    is_pushed = task in ("reach_and_drag", "slide_block_to_color_target")
    for name in ("object_mass", "object_friction"):
        assert (name in found) == is_pushed and (name in extra) != is_pushed
    assert not set(found) & set(extra)
    both = factors_of(["extra", "all"], task_class(task))
    assert both == factors_of([*found, *extra], task_class(task))


def test_demos_and_origin_name_what_acts() -> None:
    env = env_with("object_color", "table_color")
    assert env.origin()["perturbations"] == ["table_color"], "block colours are in the instruction"
    demo = env.get_demo(0, 1, "none")
    assert demo[0].misc["perturbations"] == ["table_color"]
    same = env_with(*demo[0].misc["perturbations"])
    same.reset_to_demo(demo)
    assert np.array_equal(same.model.geom_rgba, env.model.geom_rgba)


@pytest.mark.parametrize("task", task_names())
def test_all_factors_together_can_be_solved(task: str) -> None:
    """Scripts see the truth, so a perturbed scene must stay solvable: three of four episodes."""
    env = EmbeddedEnv(EnvConfig(task, cameras=(), options=Options(perturbations=("all", "extra"))))
    failed = 0
    for seed in range(4):
        if seed == 3 and not failed:
            break  # three are solved
        try:
            env.get_demo(seed % env.variation_count(), seed, "none")
        except EnvError:
            failed += 1
    assert failed <= 1
