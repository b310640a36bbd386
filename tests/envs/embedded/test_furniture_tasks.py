"""Chest, safe and rack: what the variations ask for, and when the tasks are solved."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.fidelity.documents import read_documents
from sam2act.envs.embedded.fidelity.measure import measure
from sam2act.envs.embedded.sim import EmbeddedEnv

HEIGHTS = ("bottom", "middle", "top")
WAYPOINTS = {
    "open_drawer": 3,
    "put_item_in_drawer": 11,
    "put_money_in_safe": 5,
    "place_wine_at_rack_location": 5,
}
# Task, what is brought, where, whether it may still be held.
BROUGHT = {
    "put_item_in_drawer": ("item", [f"success_{place}" for place in HEIGHTS], True),
    "put_money_in_safe": ("dollar_stack", [f"success_detector{k}" for k in range(3)], False),
    "place_wine_at_rack_location": (
        "wine_bottle",
        ["success_middle", "success_left", "success_right"],
        False,
    ),
}


def begun(task: str, variation: int = 0, seed: int = 0) -> EmbeddedEnv:
    env = EmbeddedEnv(EnvConfig(task, cameras=()))
    env.begin_episode(variation, seed)
    return env


def bring(env: EmbeddedEnv, name: str, sensor: str) -> None:
    """Put the middle of `name` into the middle of a sensor's volume."""
    frames = env.scene.frames
    pose = frames.pose(name)
    pose[:3, 3] = frames.box(sensor, whole=False).mean(axis=0)
    frames.move(name, pose)


def take(env: EmbeddedEnv, name: str) -> None:
    """Put `name` between the fingers and let them attach it."""
    pose = env.scene.frames.pose(name)
    pose[:3, 3] = env.robot.tip_matrix()[:3, 3]
    env.scene.frames.move(name, pose)
    mujoco.mj_forward(env.model, env.data)
    env.robot.grasp([name])
    assert list(env.robot.grasps) == [name]


@pytest.mark.parametrize("task", BROUGHT)
def test_solved_when_the_thing_is_in_the_asked_place(task: str) -> None:
    thing, sensors, may_be_held = BROUGHT[task]
    env = begun(task)
    for variation, asked in enumerate(sensors):
        env.begin_episode(variation, variation)
        for sensor in sensors:
            bring(env, thing, sensor)
            assert env.task.success(env.scene) == (sensor == asked), (variation, sensor)
        take(env, thing)
        bring(env, thing, asked)
        assert env.task.success(env.scene) == may_be_held
        env.robot.release()
        assert env.task.success(env.scene)


def test_a_drawer_is_open_beyond_fifteen_centimetres_and_only_the_asked_one_counts() -> None:
    env = begun("open_drawer")
    for variation, asked in enumerate(HEIGHTS):
        env.begin_episode(variation, 0)
        for place in HEIGHTS:
            env.scene.set_joint(f"drawer_joint_{place}", 0.29)
            assert env.task.success(env.scene) == (place == asked)
            env.scene.set_joint(f"drawer_joint_{place}", 0.0)
        for position, solved in ((0.149, False), (0.151, True)):
            env.scene.set_joint(f"drawer_joint_{asked}", position)
            assert env.task.success(env.scene) == solved


@pytest.mark.parametrize(
    ("task", "wording", "words"),
    [
        ("open_drawer", "open the {} drawer", HEIGHTS),
        ("put_item_in_drawer", "put the item in the {} drawer", HEIGHTS),
        ("put_money_in_safe", "put the money away in the safe on the {} shelf", HEIGHTS),
        (
            "place_wine_at_rack_location",
            "stack the wine bottle to the {} of the rack",
            ("middle", "left", "right"),
        ),
    ],
)
def test_variations_are_told_apart_by_the_published_words(
    task: str, wording: str, words: tuple[str, ...]
) -> None:
    env, ends = begun(task), []
    for variation, word in enumerate(words):
        env.begin_episode(variation, 0)
        assert env.instructions[0] == wording.format(word)
        script = list(env.task.waypoints(env.scene))
        assert len(script) == WAYPOINTS[task]
        base = np.linalg.inv(env.scene.frames.pose(task))
        ends.append(base[:3, :3] @ script[-1].pose[:3] + base[:3, 3])
    axis = 0 if task == "place_wine_at_rack_location" else 2
    along = [end[axis] for end in ends]
    if axis == 0:  # from the right one to the left one
        assert along[2] + 0.1 < along[0] < along[1] - 0.1
    else:
        assert along[0] + 0.1 < along[1] < along[2] - 0.1


@pytest.mark.parametrize("task", BROUGHT)
def test_the_scene_agrees_with_the_facts_but_for_stated_reasons(task: str) -> None:
    findings = measure(task, read_documents(), resets=1)
    assert findings.faults() == []
    assert findings.share() >= 0.9


def test_money_lies_on_the_safe_within_its_boundary_and_its_door_never_moves() -> None:
    env = begun("put_money_in_safe")
    frames = env.scene.frames
    places = []
    for seed in range(4):
        env.begin_episode(0, seed)
        plane = frames.pose("dollar_stack_boundary")
        low, high = frames.box("dollar_stack", plane, whole=False)
        places.append((low + high) / 2)
        assert (np.abs([low[:2], high[:2]]) <= np.array([0.2231, 0.2827]) / 2 + 0.002).all()
        assert abs(low[2]) < 0.003
    assert np.ptp(places, axis=0)[:2].min() > 0.01
    joints = [item.name for item in frames.facts.objects.values() if item.joint is not None]
    assert joints == ["safe_joint"]
    assert frames.state().size == 7 * (len(frames.facts.objects) - 1) + 1
    row = frames.facts.by_level().index("safe_joint")
    assert frames.state()[7 * row] == 0.0
