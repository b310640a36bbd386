"""Every task: its script solves it, one keyframe per waypoint, everything within bounds."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sam2act.core.tasks import CHANCE, MEMORYBENCH_TASKS
from sam2act.data.rlbench.keyframes import find_keyframes
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.kit.task import LatchedConditions, down, gripper_rotation
from sam2act.envs.embedded.kit.workspace import FRAME_SECONDS
from sam2act.envs.embedded.robot import panda
from sam2act.envs.embedded.sim import EmbeddedEnv
from sam2act.envs.embedded.tasks import task_class, task_names
from sam2act.envs.embedded.tasks.push_buttons import PushButtons

MOST_VARIATIONS = {0: 12, 1: 4, 2: 4}  # per seed
BOUNDS = np.array([[-0.3, -0.5, 0.6], [0.7, 0.5, 1.6]])
# As in RLBench.
VARIATIONS = {
    "open_drawer": 3,
    "push_buttons": 50,
    "slide_block_to_color_target": 4,
    "stack_blocks": 60,
    "put_item_in_drawer": 3,
    "reach_and_drag": 20,
    "meat_off_grill": 2,
    "close_jar": 20,
    "put_money_in_safe": 3,
    "turn_tap": 2,
    "place_wine_at_rack_location": 3,
    "insert_onto_square_peg": 20,
    "stack_cups": 20,
    "sweep_to_dustpan_of_size": 2,
    "put_groceries_in_cupboard": 9,
    "light_bulb_in": 20,
    "place_cups": 3,
    "place_shape_in_shape_sorter": 5,
    "reopen_drawer": 3,
    "put_block_back": 4,
    "rearrange_block": 2,
    # Ours.
    "turn_on_lamp": 1,
    "push_buttons_in_sequence": 6,
    "stack_cubes": 6,
    "push_same_button": 3,
}


def sampled_variations(task: str, seed: int = 0) -> list[int]:
    """At most twelve of the first seed and four of others, spread over all."""
    count = task_class(task).variations
    most = min(count, MOST_VARIATIONS[seed])
    return sorted({int(v) for v in np.linspace(0, count - 1, most)})


def object_positions(env: EmbeddedEnv) -> np.ndarray:
    """(N, 3) centres of the shapes that are neither robot nor room."""
    robot = {env.model.body(name).id for name in panda.ROBOT_BODIES} | {0}
    geoms = [g for g in range(env.model.ngeom) if env.model.geom_bodyid[g] not in robot]
    return env.data.geom_xpos[geoms]


def check_demo(env: EmbeddedEnv, variation: int, seed: int) -> None:
    waypoints = []
    original = env.execute

    def counted(action, **options):
        if not waypoints or not np.allclose(action, waypoints[-1]):  # else nothing moves
            waypoints.append(action)
        return original(action, **options)

    env.execute = counted
    try:
        demo = env.get_demo(variation, seed, "none")
    finally:
        env.execute = original
    velocities = np.stack([o.joint_velocities for o in demo])
    keyframes = find_keyframes(velocities, [o.gripper_open for o in demo])
    assert len(keyframes) == len(waypoints), (variation, seed)
    mujoco.mj_kinematics(env.model, env.data)
    positions = object_positions(env)
    assert ((positions >= BOUNDS[0]) & (positions <= BOUNDS[1])).all(), (variation, seed)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed > 0)) for seed in MOST_VARIATIONS]
)
@pytest.mark.parametrize("task", task_names())
def test_script_solves_every_variation(task: str, seed: int) -> None:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    for variation in sampled_variations(task, seed):
        check_demo(env, variation, 100 * seed + variation)


def _meaning(task: str, variation: int) -> object:
    """What the first wording of a variation depends on."""
    if task in CHANCE:
        return None
    if task == "push_buttons":
        return tuple(PushButtons.asked_colors(variation))
    return variation


@pytest.mark.parametrize("task", task_names())
def test_task_is_described_like_the_original(task: str) -> None:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    assert env.variation_count() == VARIATIONS[task]
    first = set()
    for variation in sampled_variations(task):
        env.begin_episode(variation, 1)
        assert len(env.instructions) >= (1 if task in MEMORYBENCH_TASKS else 3)
        assert all(isinstance(text, str) and text for text in env.instructions)
        first.add(env.instructions[0])
    assert len(first) == len({_meaning(task, v) for v in sampled_variations(task)})


@pytest.mark.parametrize("task", task_names())
def test_scene_is_at_rest_after_reset(task: str) -> None:
    """Nothing floats, falls or is pushed out of something else."""
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    for variation in sampled_variations(task)[:4]:
        env.begin_episode(variation, 5)
        before = object_positions(env).copy()
        for _ in range(20):
            env.robot.advance()
        drift = np.abs(object_positions(env) - before).max()
        assert drift < 0.002 and drift / (20 * FRAME_SECONDS) < 0.002, variation
        assert env.task.success(env.scene) is False


@pytest.mark.parametrize("task", task_names())
def test_waypoints_can_be_listed_at_reset(task: str) -> None:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    env.begin_episode(0, 3)
    state = env.data.qpos.copy()
    waypoints = list(env.task.waypoints(env.scene))
    assert waypoints and np.array_equal(env.data.qpos, state)
    for waypoint in waypoints:
        assert waypoint.pose.shape == (7,)
        assert np.linalg.norm(waypoint.pose[3:]) == pytest.approx(1)


@pytest.mark.parametrize("task", task_names())
def test_declared_parts_exist(task: str) -> None:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    for name in (*env.task.manipulated, *env.task.receivers):
        assert env.scene.geoms(name), name
    assert env.task.manipulated
    for name in env.task.graspable:
        assert env.model.equality(f"grasp_{name}").id >= 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tap_counts_as_turned_from_a_quarter_on(side: str) -> None:
    env = EmbeddedEnv(EnvConfig("turn_tap", cameras=()))
    env.begin_episode(["left", "right"].index(side), 2)
    for angle, turned in ((0.5, False), (1.56, False), (1.58, True)):
        env.scene.set_joint(f"handle_joint_{side}", angle)
        assert env.task.success(env.scene) is turned, angle
    other = "right" if side == "left" else "left"
    env.scene.set_joint(f"handle_joint_{side}", 0.0)
    env.scene.set_joint(f"handle_joint_{other}", 1.7)
    assert not env.task.success(env.scene)


def test_gripper_pointing_down() -> None:
    assert np.allclose(np.abs(down() @ np.array([0, 1, 0, 0])), 1)
    assert np.allclose(np.abs(down(np.pi) @ down()), 1)
    assert np.allclose(np.abs(down(np.pi / 2, symmetry=4) @ down()), 1)
    assert np.allclose(np.abs(down() @ gripper_rotation((0, 0, -1), (0, 1, 0))), 1)


def test_latched_conditions_with_and_without_order() -> None:
    free, ordered = LatchedConditions(2), LatchedConditions(2, ordered=True)
    for conditions in (free, ordered):
        conditions.update(False, True)
        conditions.update(True, False)
    assert free.all_met and not ordered.all_met
    ordered.update(False, True)
    assert ordered.all_met
