"""Inverse kinematics, paths and their timing."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sam2act.envs.base import IKError
from sam2act.envs.embedded.kit.task import down
from sam2act.envs.embedded.robot import panda, rrt
from sam2act.envs.embedded.robot.kinematics import Arm, Pose
from sam2act.envs.embedded.robot.planner import Planner, time_path
from sam2act.envs.embedded.sim import EmbeddedEnv


def pose(*position: float, yaw: float = 0.0) -> Pose:
    return Pose.from_array(np.array([*position, *down(yaw)]))


@pytest.fixture
def arm(blocks: EmbeddedEnv) -> Arm:
    return Arm(blocks.model, mujoco.MjData(blocks.model))


@pytest.mark.parametrize("yaw", [-1.2, 0.0, 0.7])
def test_canonical_solution_reaches_the_pose_within_the_limits(arm: Arm, yaw: float) -> None:
    goal = pose(0.3, -0.2, 0.85, yaw=yaw)
    joints = arm.canonical_solutions(goal)[0]
    reached = arm.tip(joints)
    assert np.linalg.norm(reached.position - goal.position) < 0.0016
    assert np.abs(reached.matrix - goal.matrix).max() < 0.007
    assert (joints > panda.LIMITS[:, 0]).all() and (joints < panda.LIMITS[:, 1]).all()


def test_half_a_turn_is_solved(arm: Arm) -> None:
    flipped = Pose(np.array([0.3, 0.0, 1.1]), np.diag([1.0, -1.0, -1.0]))
    assert arm.canonical_solutions(flipped)


def test_line_is_straight_and_arrives() -> None:
    start, goal = pose(0.2, 0.1, 0.9), pose(0.4, -0.1, 1.1, yaw=1.0)
    poses = start.line_to(goal, 10)
    positions = np.array([p.position for p in poses])
    assert np.allclose(positions[-1], goal.position) and np.allclose(poses[-1].matrix, goal.matrix)
    assert np.allclose(np.diff(positions, axis=0), (goal.position - start.position) / 10)


def test_planned_posture_depends_on_the_pose_alone(blocks: EmbeddedEnv) -> None:
    goal = pose(0.25, 0.1, 0.9)
    planner, scene = Planner(blocks.model), (blocks.model, blocks.data)
    detour = panda.HOME + np.array([0.5, 0.2, -0.4, -0.3, 0.3, 0.2, 0.6])
    ends = [
        planner.plan(scene, start, goal, ignore_collisions=True).joints[-1]
        for start in (panda.HOME, detour)
    ]
    assert np.abs(ends[0] - ends[1]).max() < 1e-9


def test_unreachable_pose_is_an_ik_error(blocks: EmbeddedEnv) -> None:
    with pytest.raises(IKError, match="no joint solution"):
        Planner(blocks.model).plan(
            (blocks.model, blocks.data), panda.HOME, pose(1.5, 0, 0.8), ignore_collisions=True
        )


def test_planning_leaves_the_simulation_alone(blocks: EmbeddedEnv) -> None:
    before = blocks.data.qpos.copy()
    Planner(blocks.model).plan(
        (blocks.model, blocks.data), panda.HOME, pose(0.3, 0.2, 0.8), ignore_collisions=False
    )
    assert np.array_equal(blocks.data.qpos, before)


def test_path_with_collisions_considered_goes_around_the_block(blocks: EmbeddedEnv) -> None:
    """At block height, from one side of the block to the other."""
    x, y, _ = blocks.scene.position("block")
    for side in (-0.09, 0.09):
        ignore = side < 0
        action = np.array([x, y + side, 0.775, *down(), 0.0, float(ignore)])
        info = blocks.execute(action, stop_on_success=False)
    assert info["path_kind"] in ("rrt", "joint line", "free line")
    assert np.abs(blocks.scene.position("block")[:2] - [x, y]).max() < 1e-3


def test_random_trees_find_the_gap_in_a_wall() -> None:
    def is_free(start: np.ndarray, stop: np.ndarray) -> bool:
        points = start + np.linspace(0, 1, 50)[:, None] * (stop - start)
        in_wall = np.abs(points[:, 0]) < 0.05
        return not (in_wall & (points[:, 1] < 0.8)).any()

    limits = np.array([[-1.0, 1.0], [-1.0, 1.0]])
    ends = (np.array([-0.5, 0.0]), np.array([0.5, 0.0]))
    paths = [rrt.connect(*ends, limits, is_free, np.random.default_rng(4)) for _ in range(2)]
    assert np.array_equal(*paths)  # repeatable
    assert np.array_equal(paths[0][[0, -1]], ends)
    assert all(is_free(a, b) for a, b in zip(paths[0], paths[0][1:], strict=False))
    closed = rrt.connect(
        *ends, limits, lambda a, b: bool(a[0] * b[0] > 0), np.random.default_rng(4)
    )
    assert closed is None


@pytest.mark.parametrize("length", [0.02, 0.3, 2.0])
def test_timing_respects_speed_and_acceleration(length: float) -> None:
    path = np.zeros((3, 7))
    path[1, 2], path[2, 2] = 0.4 * length, length
    frames = time_path(path)
    assert np.array_equal(frames[-1], path[-1])
    speeds = np.diff(np.concatenate([[0.0], frames[:, 2]])) / 0.05
    assert (speeds >= 0).all() and speeds.max() < 0.83 * 1.001
    assert np.abs(np.diff(np.concatenate([[0.0], speeds, [0.0]]))).max() / 0.05 < 6.0 * 1.001


def test_fast_start_is_no_keyframe() -> None:
    """The keyframe heuristic calls everything below 0.1 rad/s a stop."""
    path = np.zeros((2, 7))
    path[1, 0] = 0.5
    assert time_path(path)[0, 0] / 0.05 > 0.1


def test_no_motion_is_one_frame() -> None:
    assert time_path(np.zeros((2, 7))).shape == (1, 7)
