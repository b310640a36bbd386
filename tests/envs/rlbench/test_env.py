"""The RLBench backend on stand-ins for PyRep and RLBench; CoppeliaSim itself is not tested."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from sam2act.core.errors import ConfigError
from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.rlbench.keyframes import demo_keyframes
from sam2act.data.rlbench.types import Demo, RecordedObservation
from sam2act.envs import base
from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded import options as embedded_options
from sam2act.envs.policy_inputs import policy_observation
from sam2act.envs.registry import check_task, make_env
from sam2act.envs.rlbench.env import RLBenchEnv
from tests.envs.conftest import ACTION, make, simulator_error

SPEC = PolicySpec(square_cameras(POLICY_CAMERAS, 128, depth=True), language=None)


# ------------------------------------------------------------------------------ observations
def test_observations_are_configured_as_published(rlbench_env: RLBenchEnv, world: Any) -> None:
    ((is_headless, config),) = world.named("launch")
    assert is_headless is True
    for name in base.CAMERAS:
        camera = getattr(config, f"{name}_camera")
        wanted = name != "overhead"
        assert (camera.rgb, camera.depth) == (wanted, wanted), name
        assert (camera.mask, camera.rgb_noise) == (False, None)
        assert camera.depth_in_meters and camera.image_size == (128, 128)
        assert camera.render_mode.name == "OPENGL"
    on = ("joint_velocities", "joint_positions", "gripper_open", "gripper_pose")
    on += ("gripper_matrix", "gripper_joint_positions")
    off = ("joint_forces", "gripper_touch_forces", "task_low_dim_state")
    assert all(getattr(config, name) is True for name in on)
    assert all(getattr(config, name) is False for name in off)


def test_options_reach_the_simulator(world: Any) -> None:
    env = make(headless=False, masks=True, point_clouds=True, cameras=("overhead",), image_size=64)
    ((is_headless, config),) = world.named("launch")
    overhead, front = config.overhead_camera, config.front_camera
    assert is_headless is False and overhead.image_size == (64, 64)
    assert overhead.mask and overhead.point_cloud and overhead.rgb
    assert not (front.mask or front.point_cloud or front.rgb or front.depth)
    env.close()


def test_observation_is_what_the_policy_takes(running: RLBenchEnv) -> None:
    _, observation = running.reset(1, 5)
    assert type(observation) is RecordedObservation
    batch = policy_observation([observation], SPEC, [0])
    assert batch.depth.shape == (1, 4, 128, 128) and (batch.depth == 1.0).all()
    assert batch.intrinsics[0, 0, 0, 0] == -100
    pickle.dumps(observation)  # sent between processes


# ------------------------------------------------------------------------------------ resets
def test_reset_seeds_the_global_generator(rlbench_env: RLBenchEnv) -> None:
    expected = np.random.RandomState(11).uniform(size=3)
    _, first = rlbench_env.reset(2, 11)
    np.random.uniform(size=100)
    _, second = rlbench_env.reset(2, 11)
    assert np.array_equal(first.task_low_dim_state, expected)
    assert np.array_equal(second.task_low_dim_state, expected)


@pytest.mark.parametrize("kind", ["state", "integer", "numpy integer"])
def test_scene_of_a_demo_is_restored_and_drawn_once(
    rlbench_env: RLBenchEnv, world: Any, kind: str
) -> None:
    source = np.random.RandomState(5)
    seed = {"state": source.get_state(), "integer": 5, "numpy integer": np.int64(5)}[kind]
    demo = Demo([RecordedObservation(misc={})], seed, 2)
    _, observation = rlbench_env.reset_to_demo(demo)
    assert np.array_equal(observation.task_low_dim_state, source.uniform(size=3))
    # What the episode draws next continues the same stream: nothing else was drawn.
    assert np.random.uniform() == source.uniform()
    assert world.named("reset") == [(2,)]


def test_instructions_are_those_of_this_reset(rlbench_env: RLBenchEnv) -> None:
    demo = Demo([RecordedObservation(misc={})], 5, 1)
    assert rlbench_env.reset(0, 0)[0] == ["open drawer 0, reset 1", "a paraphrase"]
    instructions, _ = rlbench_env.reset_to_demo(demo)
    assert instructions[0] == "open drawer 1, reset 2" and rlbench_env.instructions == instructions
    instructions.clear()
    assert rlbench_env.instructions


def test_scene_is_opened_once(rlbench_env: RLBenchEnv, world: Any) -> None:
    for variation in range(rlbench_env.variation_count()):
        rlbench_env.reset(variation, 3)
    assert len(world.named("launch")) == 1 and world.named("get_task") == [("OpenDrawer",)]


@pytest.mark.parametrize(
    ("variation", "seed", "message"),
    [(3, 0, "0 to 2, not 3"), (-1, 0, "not -1"), (0, -1, "seed: -1"), (0, 2**32, "seed")],
)
def test_impossible_episodes_are_refused(
    rlbench_env: RLBenchEnv, world: Any, variation: int, seed: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rlbench_env.reset(variation, seed)
    assert world.named("reset") == []


@pytest.mark.parametrize("state", [None, ("MT19937", [1, 2], 0), {"a": 1}, "MT19937"])
def test_demo_without_a_random_state_is_refused(
    rlbench_env: RLBenchEnv, world: Any, state: Any
) -> None:
    with pytest.raises(ValueError, match="random_seed"):
        rlbench_env.reset_to_demo(Demo([RecordedObservation(misc={})], state, 0))
    assert world.named("reset") == []


def test_demo_of_the_embedded_simulator_is_refused(rlbench_env: RLBenchEnv) -> None:
    with pytest.raises(ValueError, match="recorded with backend embedded"):
        rlbench_env.reset_to_demo(Demo([RecordedObservation(misc={"backend": "embedded"})], 5, 0))


@pytest.mark.parametrize("kind", ["BoundaryError", "WaypointError"])
def test_scene_that_cannot_be_placed_is_named(
    rlbench_env: RLBenchEnv, world: Any, kind: str
) -> None:
    world.reset_error = simulator_error(f"rlbench.backend.exceptions.{kind}")
    with pytest.raises(getattr(base, kind), match="Could not place.*told by the simulator"):
        rlbench_env.reset(0, 0)
    world.reset_error = None
    rlbench_env.reset(0, 0)  # the simulator is still well


# ------------------------------------------------------------------------------------- demos
def test_demo_can_be_restored(rlbench_env: RLBenchEnv, world: Any) -> None:
    demo = rlbench_env.get_demo(1, 9, images="none")
    assert type(demo) is Demo and demo.variation_number == 1 and len(demo) == 25
    _, observation = rlbench_env.reset_to_demo(demo)
    assert np.array_equal(observation.task_low_dim_state, demo[0].task_low_dim_state)
    assert world.named("reset") == [(1,), (1,)]


@pytest.mark.parametrize("images", ["none", "all", "keyframes"])
def test_demo_keeps_the_images_asked_for(rlbench_env: RLBenchEnv, images: str) -> None:
    demo = rlbench_env.get_demo(0, 0, images=images)
    keyframes = {*demo_keyframes(demo), 0, 10, 20}
    kept = {"none": set(), "all": set(range(25)), "keyframes": keyframes}[images]
    assert 24 in keyframes and len(keyframes) < 25
    for kind in ("rgb", "depth"):
        frames = {i for i, o in enumerate(demo) if getattr(o, f"front_{kind}") is not None}
        assert frames == kept


def test_failing_script_is_a_demo_error(rlbench_env: RLBenchEnv, world: Any) -> None:
    world.script_works = False
    with pytest.raises(base.ScriptError, match="this seed"):
        rlbench_env.get_demo(0, 0)
    assert len(world.named("reset")) == 1 and world.launched
    with pytest.raises(ValueError, match="images"):
        rlbench_env.get_demo(0, 0, images="some")


# ------------------------------------------------------------------------------------- films
def test_film_shows_every_other_step_and_the_end(running: RLBenchEnv, world: Any) -> None:
    running.step(ACTION)  # before the film
    running.start_film(2)
    running.step(ACTION)
    running.step(ACTION)
    frames = running.stop_film()
    # Brightness counts steps: 5, 7, 9, 11 of the steps 5 to 12, then the present moment.
    assert [int(frame[0, 0, 0]) for frame in frames] == [12, 17, 22, 28, 30]
    assert all(frame.shape == (180, 320, 3) and frame.dtype == np.uint8 for frame in frames)
    running.step(ACTION)
    assert world.named("sensor") == [((320, 180), True)]  # rendered on request only
    assert len(world.named("render")) == 5
    ((pose,),) = world.named("sensor pose")
    assert np.allclose(pose[:2], [np.cos(0.75 * np.pi), np.sin(0.75 * np.pi)])
    assert world.named("sensor parent") == [("cam_cinematic_placeholder",)]


def test_second_film_starts_empty_from_the_same_place(running: RLBenchEnv, world: Any) -> None:
    running.start_film(1)
    running.step(ACTION)
    running.stop_film()
    running.start_film(1)
    running.reset(0, 1)
    running.step(ACTION)
    assert len(running.stop_film()) == 5
    assert len(world.named("sensor")) == 1
    assert world.turns["cam_cinematic_base"] == pytest.approx(0.75 * np.pi)


def test_overexposed_pixel_stays_white(running: RLBenchEnv, world: Any) -> None:
    running.start_film(1)
    world.steps = 140
    assert running.stop_film()[0].min() == 255


def test_film_needs_a_start_and_a_rate(running: RLBenchEnv) -> None:
    with pytest.raises(RuntimeError, match="start_film first"):
        running.stop_film()
    with pytest.raises(ValueError, match="at least 1"):
        running.start_film(0)


# ------------------------------------------------------------------------------------- tasks
def test_unknown_task_says_where_others_are(world: Any) -> None:
    for name, hint in (("open_drawr", "did you mean open_drawer"), ("put_block_back", "fork")):
        with pytest.raises(ValueError, match=hint):
            make_env(EnvConfig(name, backend="rlbench"))
        with pytest.raises(ValueError, match=hint):
            check_task("rlbench", name)
    check_task("rlbench", "open_drawer")
    assert world.calls == []


def test_options_of_another_simulator_and_unknown_cameras_are_refused(world: Any) -> None:
    theirs = embedded_options.Options(strict_order=True)
    with pytest.raises(ConfigError, match=r"rlbench\.options\.Options, got .*embedded"):
        make_env(EnvConfig("open_drawer", backend="rlbench", options=theirs))
    with pytest.raises(ConfigError, match="cameras: ceiling unknown to the rlbench backend"):
        make(cameras=("front", "ceiling"))
    assert world.calls == []


def test_only_planned_keyframes_are_offered(running: RLBenchEnv) -> None:
    assert list(running.controls) == ["keyframe_pose"]
    with pytest.raises(ConfigError, match="'ee_pose' is unknown to the rlbench backend"):
        running.step(ACTION, "ee_pose")
