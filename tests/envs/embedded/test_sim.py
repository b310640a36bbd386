"""Episodes: what actions do, what is refused, and that everything repeats exactly."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.rlbench.types import Demo, RecordedObservation
from sam2act.envs.base import (
    BoundaryError,
    ConfigurationPathError,
    EnvConfig,
    InvalidActionError,
    NoWaypointsError,
    ScriptError,
    SimulationError,
    WaypointError,
)
from sam2act.envs.embedded.kit.scene import Area
from sam2act.envs.embedded.kit.task import down, go
from sam2act.envs.embedded.options import Options
from sam2act.envs.embedded.sim import EmbeddedEnv
from tests.places import REPOSITORY

OUTSIDE = [0.9, 0.0, 1.0, *down(), 1.0, 1.0]
TOO_FAR = [0.79, 0.65, 1.74, *down(), 1.0, 1.0]


def fingerprint(task: str, variation: int, seed: int) -> str:
    """A hash of every image and joint angle of the first steps of a scripted episode."""
    env = EmbeddedEnv(EnvConfig(task, image_size=32))
    return episode_fingerprint(env, variation, seed)


def episode_fingerprint(env: EmbeddedEnv, variation: int, seed: int) -> str:
    digest = hashlib.sha256()
    observations = [env.reset(variation, seed)[1]]
    for waypoint in env.task.waypoints(env.scene):
        observations.append(env.step(waypoint.action).observation)
    for observation in observations:
        digest.update(observation.joint_positions.tobytes())
        for camera in POLICY_CAMERAS:
            digest.update(getattr(observation, f"{camera}_rgb").tobytes())
            digest.update(getattr(observation, f"{camera}_depth").tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("task", ["reopen_drawer", "rearrange_block"])
def test_same_seed_same_episode_also_after_another_and_in_another_process(task: str) -> None:
    env = EmbeddedEnv(EnvConfig(task, image_size=32))
    first = episode_fingerprint(env, 1, 7)
    other = episode_fingerprint(env, 0, 8)
    assert first != other
    assert episode_fingerprint(env, 1, 7) == first
    code = (
        f"from tests.envs.embedded.test_sim import fingerprint;print(fingerprint({task!r}, 1, 7))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == first


def test_first_observation_has_every_rlbench_field(blocks: EmbeddedEnv) -> None:
    observation = blocks.observe(("front",))
    shapes = {
        "joint_positions": (7,), "joint_velocities": (7,), "joint_forces": (7,),
        "gripper_pose": (7,), "gripper_matrix": (4, 4), "gripper_joint_positions": (2,),
        "gripper_touch_forces": (6,), "front_rgb": (128, 128, 3), "front_depth": (128, 128),
    }  # fmt: skip
    for name, shape in shapes.items():
        assert getattr(observation, name).shape == shape, name
    assert observation.front_rgb.dtype == np.uint8 and observation.front_depth.dtype == np.float32
    assert observation.gripper_open == 1.0 and observation.ignore_collisions.shape == ()
    assert observation.wrist_rgb is None and observation.front_mask is None
    assert observation.misc["backend"] == "embedded"
    assert np.linalg.norm(observation.gripper_pose[3:]) == pytest.approx(1)
    assert np.allclose(observation.gripper_pose[:3], observation.gripper_matrix[:3, 3])


def test_action_moves_the_tip_there_and_closes_the_gripper(blocks: EmbeddedEnv) -> None:
    result = blocks.step(np.array([0.3, 0.1, 1.0, *down(0.5), 0.0, 1.0]))
    pose = result.observation.gripper_pose
    assert np.abs(pose[:3] - [0.3, 0.1, 1.0]).max() < 0.003
    assert abs(np.dot(pose[3:], down(0.5))) > 0.9999
    assert result.observation.gripper_open == 0.0
    assert result.observation.gripper_joint_positions.max() < 0.002
    assert (result.reward, result.terminal) == (0.0, False)
    assert result.info["error"] is None and result.info["frames"] > 10
    assert {"plan_ms", "exec_ms", "render_ms", "path_kind", "success"} <= set(result.info)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.2, 0.0, 1.0, 0.0, 1.1, 0.0, 0.0, 1.0, 1.0], "normalise"),
        (TOO_FAR, "IKError"),
    ],
)
def test_refused_action_leaves_the_episode_usable(
    blocks: EmbeddedEnv, action: list[float], message: str
) -> None:
    before = blocks.data.qpos.copy()
    with pytest.raises(InvalidActionError, match=message):
        blocks.step(np.array(action))
    assert np.array_equal(blocks.data.qpos, before)
    assert blocks.observe().ignore_collisions == 0.0
    for waypoint in blocks.task.waypoints(blocks.scene):
        result = blocks.step(waypoint.action)
    assert result.terminal and result.reward == 1.0


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ((0.3, 0.0, 0.70), (0.3, 0.0, 0.752)),
        ((-0.1, 0.72, 1.0), (-0.1, 0.66, 1.0)),
        ((-0.4, 0.3, 1.2), (-0.3, 0.3, 1.2)),
    ],
)
def test_target_outside_the_workspace_is_moved_into_it(
    blocks: EmbeddedEnv, wanted: tuple[float, ...], reached: tuple[float, ...]
) -> None:
    """As in the published evaluation: such an action is executed."""
    result = blocks.step(np.array([*wanted, *down(), 1.0, 1.0]))
    assert result.observation.gripper_pose[:3] == pytest.approx(reached, abs=0.004)


def test_target_outside_the_workspace_is_refused_if_that_is_wanted() -> None:
    env = EmbeddedEnv(EnvConfig("put_block_back", cameras=(), options=Options(clip_targets=False)))
    env.reset(0, 0)
    before = env.data.qpos.copy()
    for action in (OUTSIDE, [0.2, 0.0, 0.751, *down(), 1.0, 1.0]):
        with pytest.raises(InvalidActionError, match="outside the workspace"):
            env.step(np.array(action))
    assert np.array_equal(env.data.qpos, before)
    env.step(np.array([0.3, 0.0, 0.753, *down(), 0.0, 1.0]))


@pytest.mark.parametrize(
    ("ignore", "retry", "attempts"),
    [(0.0, True, [False, True]), (0.0, False, [False]), (1.0, True, [True])],
)
def test_planning_considers_collisions_first_and_is_repeated_once(
    ignore: float, retry: bool, attempts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EnvConfig("put_block_back", cameras=(), options=Options(retry_without_collision=retry))
    env = EmbeddedEnv(config)
    env.reset(0, 0)
    tried: list[bool] = []

    def no_path(*_: object, ignore_collisions: bool, **__: object) -> None:
        tried.append(ignore_collisions)
        raise ConfigurationPathError("blocked")

    monkeypatch.setattr(env.planner, "plan", no_path)
    with pytest.raises(InvalidActionError, match="ConfigurationPathError: blocked"):
        env.step(np.array([0.3, 0.0, 1.0, *down(), 1.0, ignore]))
    assert tried == attempts


def test_gripper_moves_after_the_arm_and_only_when_its_state_changes(
    blocks: EmbeddedEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening releases before the fingers move."""
    events: list[str] = []
    robot, follow = blocks.robot, blocks._follow
    command, release = robot.command_fingers, robot.release

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            events.append(name)
            return function(*arguments, **options)

        return wrapped

    monkeypatch.setattr(blocks, "_follow", noting("arm", follow))
    monkeypatch.setattr(robot, "command_fingers", noting("fingers", command))
    monkeypatch.setattr(robot, "release", noting("release", release))
    for gripper in (1.0, 0.0, 0.3, 0.51):  # above one half is open
        blocks.step(np.array([0.3, 0.1, 1.0, *down(), gripper, 1.0]))
    assert events == ["arm", "arm", "fingers", "arm", "arm", "release", "fingers"]


def test_blocked_goal_is_reached_only_when_collisions_are_ignored_in_the_end() -> None:
    """RLBench plans once more without collisions before it gives up."""
    action = None
    for retry in (True, False):
        config = EnvConfig(
            "put_block_back", cameras=(), options=Options(retry_without_collision=retry)
        )
        env = EmbeddedEnv(config)
        env.reset(0, 0)
        x, y, z = env.scene.position("block")
        action = np.array([x, y, z, *down(np.pi / 4), 0.0, 0.0])  # open fingers across the corners
        action[2] = 0.765
        env.robot.command_fingers(0.0)
        for _ in range(10):
            env.robot.advance()
        if retry:
            env.step(action)
        else:
            with pytest.raises(InvalidActionError, match="ConfigurationPathError"):
                env.step(action)


def test_unknown_variation_is_refused(blocks: EmbeddedEnv) -> None:
    with pytest.raises(ValueError, match="has 0 to 3, not 4"):
        blocks.reset(4, 0)


def test_grasped_block_is_carried_and_released(blocks: EmbeddedEnv) -> None:
    waypoints = blocks.task.waypoints(blocks.scene)
    for _ in range(2):
        blocks.step(next(waypoints).action)
    assert "block" in blocks.robot.grasps
    offset = blocks.scene.position("block") - blocks.robot.tip_matrix()[:3, 3]
    blocks.step(next(waypoints).action)
    moved = blocks.scene.position("block") - blocks.robot.tip_matrix()[:3, 3]
    assert np.abs(moved - offset).max() < 0.002
    assert np.abs(blocks.robot.finger_forces()).max() > 1.0  # newtons
    blocks.step(next(waypoints).action)
    assert blocks.scene.holds_nothing


def test_closing_beside_the_block_grasps_nothing(blocks: EmbeddedEnv) -> None:
    x, y, _ = blocks.scene.position("block")
    blocks.step(np.array([x - 0.1, y, 0.79, *down(), 0.0, 1.0]))
    assert blocks.scene.holds_nothing


@pytest.mark.parametrize("images", ["none", "keyframes", "all"])
def test_demo_has_the_images_that_were_asked_for(images: str) -> None:
    env = EmbeddedEnv(EnvConfig("reopen_drawer", cameras=("front",), image_size=16))
    demo = env.get_demo(0, 1, images)
    with_images = [i for i, o in enumerate(demo) if o.front_rgb is not None]
    if images == "keyframes":
        assert {0, 10, 20, len(demo) - 1} <= set(with_images) and len(with_images) < len(demo) / 4
    else:
        assert len(with_images) == {"none": 0, "all": len(demo)}[images]
    assert demo.random_seed == 1 and demo.variation_number == 0
    assert isinstance(demo.random_seed, int)


def test_delayed_images_equal_those_taken_on_the_way() -> None:
    env = EmbeddedEnv(EnvConfig("push_buttons", cameras=("front", "wrist"), image_size=32))
    demo = env.get_demo(3, 2, "all")
    seen = []
    env.begin_episode(3, 2)
    env.on_frame = lambda: seen.append(env.observe())
    for waypoint in env.task.waypoints(env.scene):
        env.execute(waypoint.action, stop_on_success=False, opening=waypoint.opening)
    assert len(seen) == len(demo) - 1
    for live, recorded in zip(seen, list(demo)[1:], strict=True):
        assert np.array_equal(live.front_rgb, recorded.front_rgb)
        assert np.array_equal(live.wrist_depth, recorded.wrist_depth)


def test_scene_of_a_demo_is_restored_from_its_numbers() -> None:
    env = EmbeddedEnv(EnvConfig("put_block_back"))
    demo = env.get_demo(2, 11)
    env.reset(0, 99)
    _, observation = env.reset_to_demo(demo)
    assert np.array_equal(observation.front_rgb, demo[0].front_rgb)
    assert np.array_equal(observation.wrist_depth, demo[0].wrist_depth)


def test_demo_of_another_simulator_is_refused(blocks: EmbeddedEnv) -> None:
    foreign = Demo(
        [RecordedObservation(misc={})], random_seed=("MT19937", np.zeros(624), 0, 0, 0.0)
    )
    with pytest.raises(ValueError, match="backend rlbench"):
        blocks.reset_to_demo(foreign)


def test_demo_of_another_task_or_with_perturbations_is_refused(blocks: EmbeddedEnv) -> None:
    other = EmbeddedEnv(EnvConfig("rearrange_block", cameras=())).get_demo(0, 0, "none")
    with pytest.raises(ValueError, match="task rearrange_block"):
        blocks.reset_to_demo(other)
    config = EnvConfig(
        "put_block_back", cameras=(), options=Options(perturbations=("table_color",))
    )
    with pytest.raises(ValueError, match="perturbations"):
        blocks.reset_to_demo(EmbeddedEnv(config).get_demo(0, 0, "none"))


def test_looking_does_not_change_what_follows() -> None:
    states = []
    for looks in (False, True):
        env = EmbeddedEnv(EnvConfig("stack_cups", cameras=(), image_size=16))
        env.begin_episode(2, 1)
        env.on_frame = (lambda env=env: env.observe(("front",))) if looks else None
        for waypoint in env.task.waypoints(env.scene):
            env.execute(waypoint.action, stop_on_success=False)
        states.append(env.data.qpos.copy())
    assert np.array_equal(*states)


def test_unreachable_waypoint_is_found_at_reset(
    blocks: EmbeddedEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_far(self, scene):
        yield go((1.5, 0.0, 0.8), down())

    monkeypatch.setattr(type(blocks.task), "waypoints", too_far)
    with pytest.raises(WaypointError, match="waypoint 0 is out of reach"):
        blocks.reset(0, 0)


def test_failed_script_is_a_demo_error(
    blocks: EmbeddedEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(blocks.task), "success", lambda self, scene: False)
    with pytest.raises(ScriptError, match="not solved"):
        blocks.get_demo(0, 0, "none")
    assert blocks.on_frame is None


def test_script_without_waypoints_is_named(
    blocks: EmbeddedEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(blocks.task), "waypoints", lambda self, scene: iter(()))
    with pytest.raises(NoWaypointsError, match="put_block_back"):
        blocks.get_demo(0, 0, "none")


def test_crowded_area_is_a_boundary_error(blocks: EmbeddedEnv) -> None:
    area = Area((0.3, 0.0), (0.05, 0.05))
    blocks.scene.spawn("target1", area, radius=0.1)
    with pytest.raises(BoundaryError, match="no free place"):
        blocks.scene.spawn("block", area, radius=0.1)


@pytest.mark.parametrize(("failures", "usable"), [(39, True), (40, False)])
def test_unusable_scenes_are_sampled_again_forty_times(
    blocks: EmbeddedEnv, monkeypatch: pytest.MonkeyPatch, failures: int, usable: bool
) -> None:
    original, calls = type(blocks.task).init_episode, []

    def flaky(self, scene, variation):
        calls.append(variation)
        if len(calls) <= failures:
            raise WaypointError("out of reach")
        return original(self, scene, variation)

    monkeypatch.setattr(type(blocks.task), "init_episode", flaky)
    if usable:
        assert blocks.reset(0, 0)[0]
    else:
        with pytest.raises(WaypointError, match="out of reach"):
            blocks.reset(0, 0)
    assert len(calls) == 40


def test_unstable_physics_is_an_error_and_the_next_episode_works(
    blocks: EmbeddedEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks.data.qvel[12] = np.nan
    with pytest.raises(SimulationError, match="unstable"):
        blocks.step(np.array([0.3, 0.1, 1.0, *down(), 0.0, 1.0]))
    assert list(tmp_path.iterdir()) == []  # MuJoCo would write a log file
    assert blocks.get_demo(0, 0, "none")


def test_success_stops_the_motion_of_a_step_but_not_of_a_demo() -> None:
    frames = {}
    for stop in (True, False):
        env = EmbeddedEnv(
            EnvConfig("reopen_drawer", cameras=(), options=Options(stop_on_success=stop))
        )
        env.reset(2, 3)
        for waypoint in env.task.waypoints(env.scene):
            result = env.step(waypoint.action)
        frames[stop] = result.info["frames"]
        assert result.terminal
    assert frames[True] < frames[False]
