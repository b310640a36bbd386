"""Blocks, cups, mugs and dirt: what is asked, and what solves it."""

from __future__ import annotations

import numpy as np
import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.kit.parts import COLORS
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.embedded.tasks import task_class


def begin(task: str, variation: int, seed: int = 0) -> EmbeddedEnv:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    env.begin_episode(variation, seed)
    return env


def move_to(env: EmbeddedEnv, name: str, spot: np.ndarray) -> None:
    """Put the origin of an object to `spot` (3,) in metres, turned as it is."""
    pose = env.scene.frames.pose(name)
    pose[:3, 3] = spot
    env.scene.frames.move(name, pose)


def color_of(env: EmbeddedEnv, name: str) -> tuple[float, ...]:
    return tuple(env.model.geom_rgba[env.scene.geoms(name)[0], :3].round(3))


@pytest.mark.parametrize(("variation", "count", "color"), [(0, 2, "red"), (5, 4, "maroon")])
def test_as_many_blocks_as_asked_for_stand_on_the_platform(
    variation: int, count: int, color: str
) -> None:
    env = begin("stack_blocks", variation)
    assert env.instructions[0] == f"stack {count} {color} blocks"
    top = env.scene.position("stack_blocks_target_plane") + (0, 0, 0.05)
    for name in ("stack_blocks_distractor0", "stack_blocks_distractor1"):
        assert color_of(env, name) not in (COLORS[color], (0.5, 1.0, 0.5))
    for number in range(count):
        assert not env.task.success(env.scene)
        name = f"stack_blocks_target{number}"
        assert color_of(env, name) == COLORS[color]
        move_to(env, name, top + (0, 0, 0.05 * number))
    assert env.task.success(env.scene)
    move_to(env, "stack_blocks_target0", top + (0.04, 0, 0))
    assert not env.task.success(env.scene)


def test_blocks_of_the_other_color_do_not_count() -> None:
    env = begin("stack_blocks", 0)
    top = env.scene.position("stack_blocks_target_plane") + (0, 0, 0.05)
    for number in range(2):
        move_to(env, f"stack_blocks_distractor{number}", top + (0, 0, 0.05 * number))
    assert not env.task.success(env.scene)


def test_the_last_block_is_not_left_upwards() -> None:
    for variation, count in ((0, 2), (1, 3)):
        env = begin("stack_blocks", variation)
        assert len(list(env.task.waypoints(env.scene))) == 6 * count - 1


def test_both_other_cups_belong_into_the_cup_of_the_color() -> None:
    env = begin("stack_cups", 3)
    assert env.instructions[0] == "stack the other cups on top of the green cup"
    assert color_of(env, "cup2_visual") == COLORS["green"]
    assert COLORS["green"] not in (color_of(env, "cup1_visual"), color_of(env, "cup3_visual"))
    inside = env.scene.position("cup2") + (0, 0, 0.03)
    move_to(env, "cup1", inside)
    assert not env.task.success(env.scene)
    move_to(env, "cup3", inside + (0, 0, 0.03))
    assert env.task.success(env.scene)
    move_to(env, "cup1", inside + (0, 0.15, 0))
    assert not env.task.success(env.scene)


def test_named_mugs_hang_on_any_of_three_spokes() -> None:
    env = begin("place_cups", 1)
    frames = env.scene.frames
    assert env.instructions[0] == "place 2 cups on the cup holder"
    assert begin("place_cups", 0).instructions[0] == "place 1 cup on the cup holder"
    for mug, spoke in (("mug1", 0), ("mug2", 2)):  # not mug 0, which is asked for
        move_to(env, mug, frames.pose(f"place_cups_holder_spoke{spoke}")[:3, 3])
    assert not env.task.success(env.scene)
    move_to(env, "mug0", frames.pose("place_cups_holder_spoke2")[:3, 3])
    assert env.task.success(env.scene)
    move_to(env, "mug0", frames.pose("mug0")[:3, 3] + (0, 0, 0.15))
    assert not env.task.success(env.scene)


def test_a_mug_hangs_from_the_start_and_every_round_takes_another() -> None:
    env = begin("place_cups", 2)
    assert env.scene.position("mug3")[2] > 0.85
    poses = [waypoint.pose[:3] for waypoint in env.task.waypoints(env.scene)]
    assert len(poses) == 21
    for number in range(3):
        offset = poses[7 * number + 1] - env.scene.position(f"mug{number}")
        assert np.linalg.norm(offset[:2]) == pytest.approx(0.0152, abs=1e-3)


@pytest.mark.parametrize(
    ("variation", "size", "other"), [(0, "tall", "short"), (1, "short", "tall")]
)
def test_all_dirt_belongs_into_the_pan_of_the_size(variation: int, size: str, other: str) -> None:
    env = begin("sweep_to_dustpan_of_size", variation)
    assert env.instructions[0] == f"sweep dirt to the {size} dustpan"
    for pan, solved in ((other, False), (size, True)):
        for number in range(5):
            assert not env.task.success(env.scene)
            spot = env.scene.position(f"success_{pan}") + (0, 0.01 * number - 0.02, 0.01)
            env.scene.place(f"dirt{number}", spot)
        assert env.task.success(env.scene) is solved


@pytest.mark.parametrize("task", ["stack_blocks", "stack_cups", "place_cups"])
def test_open_fingers_have_room_at_every_grasp(task: str) -> None:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    for seed in range(3):
        env.begin_episode(task_class(task).variations - 1, seed)
        for waypoint in env.task.waypoints(env.scene):
            if waypoint.opening is None or waypoint.gripper_open or waypoint.pose[2] > 0.9:
                continue
            tip = waypoint.pose[:2]
            names = env.task.graspable
            distances = sorted(np.linalg.norm(env.scene.position(n)[:2] - tip) for n in names)
            assert distances[1] > 0.05, seed
