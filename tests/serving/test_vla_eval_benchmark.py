"""vla-eval runs its own loop in our simulator with our server as its model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import make_env
from sam2act.envs.seeding import episode_seed, episode_variation
from sam2act.serving.acting import Answer, Turn

pytest.importorskip("mujoco", reason="the embedded simulator (extra sim) is not installed")
pytest.importorskip("aiohttp", reason="aiohttp (extra serve) is not installed")
pytest.importorskip("vla_eval", reason="vla-eval is not installed")
from sam2act.envs.vla_eval import Sam2actBenchmark
from sam2act.serving.running import serving

TASK, SEED, EPISODES = "open_drawer", 7000, 2


def scripted(episode: int) -> list[np.ndarray]:
    """The keyframes of the script in the scene of an episode."""
    env: Any = make_env(EnvConfig(TASK, cameras=()))
    env.reset(
        episode_variation(SEED, TASK, episode, env.variation_count()),
        episode_seed(SEED, TASK, episode),
    )
    actions = []
    for waypoint in env.task.waypoints(env.scene):
        actions.append(waypoint.action)
        env.step(waypoint.action, "keyframe_pose")
    return actions


class Script:
    """Gives the keyframes of one episode after the other, and keeps what it saw."""

    executor = "single"
    spec = PolicySpec(square_cameras(["front"], 16, depth=True), language=None)

    def __init__(self, episodes: Sequence[list[np.ndarray]]) -> None:
        self.episodes, self.number, self.turns = episodes, -1, []  # type: ignore[var-annotated]

    def act(self, turns: Sequence[Turn]) -> list[Any]:
        (turn,) = turns
        self.turns.append(turn)
        self.number += turn.begins
        action = self.episodes[self.number][turn.step]
        return [Answer(action[None], np.ones(1, bool), "keyframe_pose")]


def test_scripted_keyframes_succeed_through_server_and_harness(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from vla_eval.api import run

    script = Script([scripted(episode) for episode in range(EPISODES)])
    entry = {
        "benchmark": f"{Sam2actBenchmark.__module__}:Sam2actBenchmark",
        "episodes_per_task": EPISODES,
        "params": {"tasks": [TASK], "seed": SEED, "cameras": ["front"], "image_size": 16},
    }
    with serving(script) as address:
        (result,) = run(
            {"benchmarks": [entry]}, server_url=f"ws://{address}/vla-eval", no_save=True
        )
    assert result["mean_success"] == 1.0, result
    assert "mismatch" not in caplog.text
    frame = script.turns[0].frame
    assert "drawer" in script.turns[0].instruction
    assert frame.depth["front"].shape == (16, 16) and frame.extrinsics["front"].shape == (4, 4)
    assert {"gripper_open", "finger_joints"} <= set(frame.state)
    assert len(script.turns) == sum(map(len, script.episodes))


def test_an_impossible_action_ends_the_episode() -> None:
    benchmark = Sam2actBenchmark([TASK], SEED, cameras=["front"], image_size=16)
    (task,) = benchmark.get_tasks()
    benchmark.reset({**task, "episode_idx": 0})
    result = benchmark.step({"actions": np.full(9, 5.0)})
    assert benchmark.check_done(result)
    told = benchmark.get_step_result(result)
    assert told["success"] is False and "InvalidActionError" in told["error"]
    benchmark.cleanup()
