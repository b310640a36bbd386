"""The tasks in which a colour says what to push: their rules, and their variants on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded import backend
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.embedded.tasks import task_class, variant_names
from sam2act.envs.embedded.tasks.push_buttons import BUTTONS, JOINTS, PLATES, AnyColors, PushButtons
from sam2act.envs.registry import check_tasks


def begin(task: str, variation: int, seed: int = 0) -> EmbeddedEnv:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    env.begin_episode(variation, seed)
    return env


def color_of(env: EmbeddedEnv, name: str) -> tuple[float, ...]:
    color = env.model.geom_rgba[env.scene.geoms(name)[0], :3].astype(float)
    return tuple(np.round(color, 3).tolist())


def press(env: EmbeddedEnv, number: int, travel: float) -> None:
    """Push the plate of button `number` down by `travel` metres, look, and let it go."""
    name = JOINTS[number]
    rest = env.scene.joint(name)
    env.scene.set_joint(name, rest - travel)
    env.task.step(env.scene)
    env.scene.set_joint(name, rest)


@pytest.mark.parametrize("name", variant_names())
def test_a_variant_is_a_task_of_the_embedded_simulator_alone(name: str) -> None:
    task = name.partition("@")[0]
    assert check_tasks("embedded", [name]) is None
    assert task_class(name) is not task_class(task) and issubclass(
        task_class(name), task_class(task)
    )
    with pytest.raises(ValueError, match=f"only the embedded simulator has; RLBench has {task}"):
        check_tasks("rlbench", [name])


def test_a_misspelt_variant_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="did you mean push_buttons@any_colors"):
        check_tasks("embedded", ["push_buttons@any_color"])


def test_a_demo_of_an_older_layout_is_refused_in_evaluation() -> None:
    env = EmbeddedEnv(EnvConfig("push_buttons", cameras=()))
    demo = env.get_demo(0, 0, "none")
    backend.check_demo(demo, "push_buttons", exact=True)
    demo[0].misc["scene_version"] = 1
    with pytest.raises(ValueError, match="scene_version 1.*record demos again.*training still"):
        backend.check_demo(demo, "push_buttons", exact=True)
    with pytest.raises(ValueError, match="task push_buttons"):
        backend.check_demo(demo, "push_buttons@any_colors", exact=True)


# ------------------------------------------------------------------------- push_buttons
def test_orders_of_colors_are_the_published_permutations() -> None:
    asked = [PushButtons.asked_colors(variation) for variation in range(50)]
    assert [len(colors) for colors in asked] == [1 + v % 3 for v in range(50)]
    assert {colors[0] for colors in asked} == {"maroon"}
    second = [colors[1] for colors in asked if len(colors) > 1]
    assert set(second[:-1]) == {"green"} and second[-1] == "blue"
    assert [asked[3 * p + 2][2] for p in range(3)] == ["blue", "navy", "yellow"]


def test_buttons_count_in_their_turn_only_and_plates_keep_their_color() -> None:
    env = begin("push_buttons", 1)
    assert env.instructions[0] == "push the maroon button, then push the green button"
    assert [color_of(env, name) for name in BUTTONS[:2]] == [COLORS["maroon"], COLORS["green"]]
    press(env, 1, 0.004)
    assert not env.task.success(env.scene)
    press(env, 0, 0.0008)
    press(env, 1, 0.004)
    assert not env.task.success(env.scene)
    press(env, 0, 0.0012)
    press(env, 2, 0.004)  # not asked for, no failure
    assert not env.task.success(env.scene)
    press(env, 1, 0.0012)
    assert env.task.success(env.scene)
    assert {color_of(env, name) for name in PLATES} == {COLORS["red"]}


def test_buttons_keep_their_distance_and_are_turned_anyhow() -> None:
    env = EmbeddedEnv(EnvConfig("push_buttons", cameras=()))
    yaws = []
    for seed in range(8):
        env.begin_episode(0, seed)
        spots = np.array([env.scene.position(name)[:2] for name in BUTTONS])
        apart = np.linalg.norm(spots[:, None] - spots[None], axis=-1)[np.triu_indices(3, 1)]
        assert apart.min() >= 0.1
        assert len({color_of(env, name) for name in BUTTONS}) == 3
        yaws += [abs(env.scene.yaw(name)) for name in BUTTONS]
    assert max(yaws) > 2


def test_the_hand_stands_above_the_asked_button_of_the_round() -> None:
    env = begin("push_buttons", 2, 3)
    waypoints = [waypoint.pose[:3] for waypoint in env.task.waypoints(env.scene)]
    for button, above, down in zip(BUTTONS, waypoints[::2], waypoints[1::2], strict=True):
        assert np.allclose(above - env.scene.position(button), (0, 0, 0.083), atol=1e-6)
        assert np.allclose(above - down, (0, 0, 0.07512), atol=1e-4)


def test_any_colors_has_unrelated_orders() -> None:
    asked = [tuple(AnyColors.asked_colors(variation)) for variation in range(50)]
    assert len(set(asked)) > 40 and len({colors[0] for colors in asked}) > 10
    env = begin("push_buttons@any_colors", 4)
    assert env.instructions[0].startswith(f"push the {asked[4][0]} button")


# ---------------------------------------------------------- slide_block_to_color_target
SIDES = {"green": (0, 0.175), "blue": (0.2, 0.1), "pink": (0, -0.275), "yellow": (-0.244, -0.104)}


@pytest.mark.parametrize(("variation", "color"), list(enumerate(SIDES)))
def test_a_block_counts_from_where_it_overlaps_the_target(variation: int, color: str) -> None:
    env = begin("slide_block_to_color_target", variation)
    assert env.instructions[0] == f"slide the block to {color} target"
    base, block = env.scene.frames.pose("slide_block_to_color_target"), env.scene.matrix("block")
    target = env.scene.position("block") + base[:3, :3] @ (*SIDES[color], 0)
    assert np.allclose(target[:2], env.scene.position(f"target{variation + 1}")[:2], atol=1e-3)
    for off, solved in ((0.08, False), (0.076, True)):
        pose = env.scene.frames.pose("block")
        pose[:3, :3], pose[:3, 3] = block, target + off * base[:3, 0]
        env.scene.frames.move("block", pose)
        assert env.task.success(env.scene) is solved, off


def test_the_pusher_is_half_closed_and_goes_around_the_block_where_it_must() -> None:
    counts = []
    for variation in range(4):
        env = begin("slide_block_to_color_target", variation)
        waypoints = list(env.task.waypoints(env.scene))
        counts.append(len(waypoints))
        assert [waypoint.opening for waypoint in waypoints] == [0.5] * len(waypoints)
        ignored = [waypoint.ignore_collisions for waypoint in waypoints]
        assert ignored == [False] + [True] * (len(waypoints) - 1)
    assert counts == [2, 5, 2, 5]


def test_permuted_colors_change_sides_and_success_follows_them() -> None:
    env = EmbeddedEnv(EnvConfig("slide_block_to_color_target@permuted", cameras=()))
    sides = set()
    for seed in range(8):
        env.begin_episode(2, seed)
        assert env.instructions[0] == "slide the block to pink target"
        colors = [color_of(env, f"target{side}") for side in range(1, 5)]
        assert len(set(colors)) == 4
        pink = env.task.facts.objects["target3"].shape.color
        side = colors.index(tuple(np.round(pink, 3).tolist())) + 1
        sides.add(side)
        pose = env.scene.frames.pose("block")
        pose[:2, 3] = env.scene.position(f"target{side}")[:2]
        env.scene.frames.move("block", pose)
        assert env.task.success(env.scene)
    assert len(sides) > 1


# -------------------------------------------------------------------------- reach_and_drag
def test_distractors_have_the_colors_five_to_seven_further_on() -> None:
    env, names = begin("reach_and_drag", 14), list(COLORS)
    assert env.instructions[0] == f"use the stick to drag the cube onto the {names[14]} target"
    shown = [color_of(env, name) for name in ("target0", *(f"distractor{k}" for k in (1, 2, 3)))]
    assert shown == [COLORS[names[number]] for number in (14, 19, 0, 1)]


@pytest.mark.parametrize("task", ["reach_and_drag", "reach_and_drag@any_side"])
def test_a_cube_counts_from_where_it_touches_the_sensor_of_the_target(task: str) -> None:
    env = begin(task, 1, 1)
    pose, target = env.scene.frames.pose("cube"), env.scene.frames.pose("target0")
    for off, solved in ((0.095, False), (0.085, True)):
        pose[:3, :3] = target[:3, :3]
        pose[:2, 3] = (target[:3, 3] + off * target[:3, 0])[:2]
        env.scene.frames.move("cube", pose)
        assert env.task.success(env.scene) is solved, off


def test_the_asked_target_lies_on_one_side_or_any() -> None:
    def directions(task: str) -> set[tuple[float, float]]:
        env = EmbeddedEnv(EnvConfig(task, cameras=()))
        found = set()
        for seed in range(6):
            env.begin_episode(0, seed)
            frames = env.scene.frames
            offset = np.linalg.inv(frames.pose("reach_and_drag")) @ frames.pose("target0")
            found.add(tuple(np.round(offset[:2, 3], 2)))
        return found

    assert directions("reach_and_drag") == {(-0.14, -0.15)}
    assert len(directions("reach_and_drag@any_side")) > 2
