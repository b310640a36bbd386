"""Executing actions in RLBench, on stand-ins; and what becomes of the simulator's errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.envs import base
from sam2act.envs.base import InvalidActionError
from sam2act.envs.rlbench.env import RLBenchEnv
from sam2act.envs.rlbench.errors import equivalent
from tests.envs.conftest import ACTION, action_with, make, simulator_error


# ----------------------------------------------------------------------------------- actions
def test_action_reaches_planner_and_gripper(running: RLBenchEnv, world: Any) -> None:
    result = running.step(action_with(open=0))
    ((position, quaternion, ignore, search),) = world.named("get_path")
    assert np.array_equal(position, ACTION[:3]) and np.array_equal(quaternion, ACTION[3:7])
    assert ignore is False and search == (100, 10, 10, 5, "RRTConnect")
    assert world.named("gripper") == [("close",)]
    assert np.array_equal(result.observation.gripper_pose, ACTION[:7])
    assert (result.reward, result.terminal, result.info["success"]) == (0.0, False, False)
    assert result.info["frames"] == 4 and result.info["path_kind"] == "free"
    assert result.info["error"] is None and result.info["error_type"] is None
    assert min(result.info[name] for name in ("plan_ms", "exec_ms", "render_ms")) >= 0


def test_collision_flag_belongs_to_the_action(running: RLBenchEnv, world: Any) -> None:
    running.step(action_with(ignore=1))
    running.step(action_with(ignore=0))
    assert [call[2] for call in world.named("get_path")] == [True, False]


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        # Footprint of the workspace -0.1..0.7, -0.455..0.455 and 0.2 m around it; 1 m high.
        ((5.0, 0.0, 1.0), (0.9, 0.0, 1.0)),
        ((-5.0, 9.0, 9.0), (-0.3, 0.655, 1.752)),
        ((0.3, -9.0, 0.1), (0.3, -0.655, 0.752)),
    ],
)
def test_position_is_moved_into_the_workspace(
    running: RLBenchEnv, world: Any, wanted: tuple, reached: tuple
) -> None:
    action = action_with(x=wanted[0], y=wanted[1], z=wanted[2])
    running.step(action)
    ((position, *_),) = world.named("get_path")
    assert np.allclose(position, reached, atol=2e-7)
    assert np.array_equal(action[:3], wanted)  # the caller's array is left alone


def test_position_outside_the_workspace_is_refused_if_that_is_wanted(world: Any) -> None:
    env = make(clip_targets=False)
    env.reset(0, 0)
    with pytest.raises(InvalidActionError, match="outside the workspace"):
        env.step(action_with(z=0.7))
    assert world.named("get_path") == [] and world.steps == 0 and world.launched
    env.step(action_with(z=0.76))
    env.close()


def test_arm_moves_before_the_gripper_which_acts_on_changes_only(
    running: RLBenchEnv, world: Any
) -> None:
    world.calls.clear()
    for wanted in (1, 0, 0, 1):
        running.step(action_with(open=wanted))
    kinds = [call[:2] if call[0] == "gripper" else call[:1] for call in world.calls]
    assert [kind for kind in kinds if kind[0] in ("get_path", "gripper")] == [
        *(("get_path",), ("get_path",), ("gripper", "close")),
        *(("get_path",), ("get_path",), ("gripper", "open")),
    ]


def test_quaternion_is_made_a_unit_or_refused(running: RLBenchEnv, world: Any) -> None:
    running.step(action_with(qy=1.0005))  # RLBench's own tolerance is 1e-5
    with pytest.raises(InvalidActionError, match="norm"):
        running.step(action_with(qy=0.5))
    assert len(world.named("get_path")) == 1


@pytest.mark.parametrize("kind", ["ConfigurationPathError", "IKError", "ConfigurationError"])
def test_planning_is_repeated_once_without_collisions(
    running: RLBenchEnv, world: Any, kind: str
) -> None:
    world.path_errors = [simulator_error(f"pyrep.errors.{kind}")]
    result = running.step(ACTION)
    assert [call[2] for call in world.named("get_path")] == [False, True]
    assert result.info["path_kind"] == "ignoring collisions"


@pytest.mark.parametrize(
    ("action", "options", "attempts"),
    [
        (ACTION, {}, [False, True]),
        (action_with(ignore=1), {}, [True]),
        (ACTION, {"retry_without_collision": False}, [False]),
    ],
)
def test_action_without_path_is_invalid(
    world: Any, action: np.ndarray, options: dict, attempts: list
) -> None:
    env = make(**options)
    env.reset(0, 0)
    world.path_errors = [simulator_error("pyrep.errors.ConfigurationPathError") for _ in range(5)]
    with pytest.raises(InvalidActionError, match="ConfigurationPathError: told by the simulator"):
        env.step(action)
    assert [call[2] for call in world.named("get_path")] == attempts
    assert world.steps == 0 and world.launched
    env.close()


@pytest.mark.parametrize(("stop", "frames"), [(True, 2), (False, 4)])
def test_motion_stops_on_success(world: Any, stop: bool, frames: int) -> None:
    env = make(stop_on_success=stop)
    env.reset(0, 0)
    world.solved_after = 2
    result = env.step(action_with(open=0))
    assert (result.info["frames"], world.steps) == (frames, frames)
    assert world.named("gripper") == [("close",)]  # also after an early stop
    assert (result.reward, result.terminal, result.info["success"]) == (1.0, True, True)
    env.close()


def test_declared_failure_ends_without_reward(running: RLBenchEnv, world: Any) -> None:
    world.failed = True
    result = running.step(ACTION)
    assert (result.reward, result.terminal, result.info["success"]) == (0.0, True, False)


@pytest.mark.parametrize(("ignore", "freed"), [(0, True), (1, False)])
def test_touched_shapes_leave_collision_checking(
    running: RLBenchEnv, world: Any, ignore: int, freed: bool
) -> None:
    world.touching = {"table", "held", "robot"}
    running.step(action_with(ignore=ignore))
    collidable = {name for name, value in world.collidable.items() if value}
    assert collidable == {"robot", "wall", "held"} | (set() if freed else {"table"})


# ------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("pyrep.errors.IKError", "IKError"),
        ("pyrep.errors.ConfigurationError", "IKError"),
        ("pyrep.errors.ConfigurationPathError", "ConfigurationPathError"),
        ("rlbench.backend.exceptions.InvalidActionError", "InvalidActionError"),
        ("rlbench.backend.exceptions.BoundaryError", "BoundaryError"),
        ("rlbench.backend.exceptions.WaypointError", "WaypointError"),
        ("rlbench.backend.exceptions.NoWaypointsError", "NoWaypointsError"),
        ("rlbench.backend.exceptions.DemoError", "ScriptError"),
    ],
)
def test_errors_of_the_simulator_have_equivalents(stand_ins: Path, name: str, ours: str) -> None:
    found = equivalent(simulator_error(name))
    assert type(found) is getattr(base, ours) and "told by the simulator" in str(found)


def test_error_of_the_same_name_from_elsewhere_has_none() -> None:
    class BoundaryError(Exception):
        pass

    assert equivalent(BoundaryError()) is None and equivalent(RuntimeError("no memory")) is None


def test_episode_errors_keep_the_simulator_running(running: RLBenchEnv, world: Any) -> None:
    world.step_error = simulator_error("rlbench.backend.exceptions.InvalidActionError")
    with pytest.raises(InvalidActionError, match="told by the simulator"):
        running.step(ACTION)
    assert world.launched


def test_other_errors_shut_the_simulator_down(running: RLBenchEnv, world: Any) -> None:
    world.step_error = RuntimeError("The call failed on the V-REP side.")
    with pytest.raises(RuntimeError, match="V-REP"):
        running.step(ACTION)
    assert not world.launched
    for call in (lambda: running.step(ACTION), lambda: running.reset(0, 0)):
        with pytest.raises(RuntimeError, match="closed; make another"):
            call()


def test_step_needs_an_episode(rlbench_env: RLBenchEnv, world: Any) -> None:
    with pytest.raises(RuntimeError, match="call reset first"):
        rlbench_env.step(ACTION)
    assert world.launched


def test_closing_twice_is_harmless(rlbench_env: RLBenchEnv, world: Any) -> None:
    rlbench_env.close()
    rlbench_env.close()
    assert len(world.named("shutdown")) == 1
