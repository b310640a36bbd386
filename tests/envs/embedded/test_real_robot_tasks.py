"""The twins of the paper's real-robot tasks: when they are solved, and what can be seen."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sam2act.config.load import load_experiment
from sam2act.config.tasks import task_names
from sam2act.core.tasks import REAL_ROBOT_TASKS
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.kit.buttons import PRESSED
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.embedded.tasks import push_same_button as same

PRESET = "configs/tasks/real_robot.yaml"


def begun(task: str, variation: int = 0, cameras: tuple[str, ...] = ()) -> EmbeddedEnv:
    env = EmbeddedEnv(EnvConfig(task, cameras=cameras, image_size=64))
    env.begin_episode(variation, 4)
    return env


def press(env: EmbeddedEnv, *names: str, depth: float = PRESSED + 1e-4) -> None:
    """Press buttons, one after the other, and let the task see it."""
    for name in names:
        for position in (depth, 0.0):
            env.scene.set_joint(f"{name}_joint", position)
            env.task.step(env.scene)


def is_solved(env: EmbeddedEnv) -> bool:
    return env.task.success(env.scene)


def rgb(env: EmbeddedEnv, name: str) -> tuple[float, ...]:
    return tuple(np.round(env.model.geom_rgba[env.scene.geoms(name)[0], :3].tolist(), 4).tolist())


# ------------------------------------------------------------------------------- lamp
@pytest.mark.parametrize(("depth", "shines"), [(PRESSED - 1e-4, False), (PRESSED + 1e-4, True)])
def test_the_lamp_shines_when_its_switch_was_pressed(depth: float, shines: bool) -> None:
    env = begun("turn_on_lamp", cameras=("front",))
    before = env.observe().front_rgb.astype(int)
    press(env, "switch", depth=depth)
    assert is_solved(env) is shines
    after = env.observe().front_rgb.astype(int)
    differs = np.abs(after - before).max(axis=-1) > 60
    assert bool(differs.sum() > 20) is shines


def test_the_next_episode_starts_with_the_lamp_off() -> None:
    env = begun("turn_on_lamp")
    shade = rgb(env, "lamp_shade")
    press(env, "switch")
    assert rgb(env, "lamp_shade") != shade
    env.begin_episode(0, 4)
    assert rgb(env, "lamp_shade") == shade and not is_solved(env)


# ----------------------------------------------------------------------------- buttons
@pytest.mark.parametrize(
    ("presses", "solved"),
    [
        ("red blue green", True),
        ("red red blue green", True),
        ("red blue", False),
        ("red green blue", False),
        ("blue red blue green", False),
        ("red blue green red", False),
    ],
)
def test_buttons_count_in_their_order_alone(presses: str, solved: bool) -> None:
    env = begun("push_buttons_in_sequence", variation=1)
    assert env.instructions[1] == "press the buttons in this sequence: red, blue, green"
    press(env, *presses.split())
    assert is_solved(env) is solved


def to_the_mat(env: EmbeddedEnv, height: float = 0.9) -> None:
    """Put the tip over the mat, and let the task see it."""
    x, y, _ = env.scene.position(same.MAT)
    env.data.site("tip").xpos[:] = (x + 0.05, y - 0.05, height)
    env.task.step(env.scene)
    mujoco.mj_kinematics(env.model, env.data)


@pytest.mark.parametrize(
    ("events", "solved"),
    [
        ("1m1", True),
        ("11m11", True),
        ("1m", False),
        ("11", False),  # not without the return
        ("m11", False),
        ("m1m1", True),
        ("1h1", False),  # too high
        ("1m0", False),
        ("1m01", False),  # a wrong button is not forgiven
        ("0m1", False),
        ("01m1", False),
    ],
)
def test_the_same_button_counts_after_the_return(events: str, solved: bool) -> None:
    env = begun("push_same_button", variation=1)
    for event in events:
        if event in "mh":
            to_the_mat(env, 0.9 if event == "m" else 1.01)
        else:
            press(env, f"button{event}")
    assert is_solved(env) is solved


@pytest.mark.parametrize("first", [0, 2])
def test_the_light_goes_out_at_the_first_press_of_any_button(first: int) -> None:
    env = begun("push_same_button", variation=2)
    caps = [f"{name}_cap" for name in same.BUTTONS]
    assert [rgb(env, cap) == same.LIT for cap in caps] == [False, False, True]
    press(env, same.BUTTONS[first])
    assert all(rgb(env, cap) == same.UNLIT for cap in caps)


# ------------------------------------------------------------------------------- cubes
@pytest.mark.parametrize(
    ("offset", "solved"),
    [
        ((0.0, 0.0, 0.05), True),
        ((0.024, -0.024, 0.05), True),
        ((0.026, 0.0, 0.05), False),
        ((0.0, 0.0, 0.056), True),
        ((0.0, 0.0, 0.058), False),
        ((0.0, 0.055, 0.0), False),
    ],
)
def test_the_upper_cube_must_rest_on_the_lower_one(
    offset: tuple[float, float, float], solved: bool
) -> None:
    env = begun("stack_cubes", variation=3)
    assert env.instructions[0] == "stack the green cube on the blue cube"
    env.scene.place("green_cube", env.scene.position("blue_cube") + offset)
    assert is_solved(env) is solved
    env.scene.place("blue_cube", env.scene.position("red_cube") + offset)
    assert not is_solved(env)


def test_a_held_cube_does_not_count() -> None:
    env = begun("stack_cubes")
    *before, last = [point.action for point in env.task.waypoints(env.scene)]
    for action in before:
        env.execute(action, stop_on_success=False)
    last[7] = 0.0
    assert env.execute(last, stop_on_success=False)["success"] is False
    last[7] = 1.0
    assert env.execute(last, stop_on_success=False)["success"] is True


# ------------------------------------------------------------------------------ preset
@pytest.mark.parametrize("base", ["sam2act", "tiny", "sam2act_plus"])
def test_the_preset_fits_any_experiment(base: str) -> None:
    experiment = load_experiment(f"configs/{base}.yaml", task_path=PRESET)
    plain = load_experiment(f"configs/{base}.yaml")
    assert task_names(experiment) == REAL_ROBOT_TASKS
    assert experiment.cameras == ("front",)
    assert experiment.peract == plain.peract and experiment.bs == plain.bs


@pytest.mark.parametrize("task", REAL_ROBOT_TASKS)
def test_everything_asked_for_lies_within_the_bounds(task: str) -> None:
    bounds = np.reshape(load_experiment("", task_path=PRESET).scene_bounds, (2, 3))
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    for seed in range(20):
        env.begin_episode(seed % env.variation_count(), seed)
        script = np.array([point.pose[:3] for point in env.task.waypoints(env.scene)])
        assert ((script > bounds[0] + 0.02) & (script < bounds[1] - 0.02)).all()
