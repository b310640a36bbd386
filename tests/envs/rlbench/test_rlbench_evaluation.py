"""The evaluator's commands on the RLBench backend (stand-ins), from a recorded demo to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.specs import PolicySpec, square_cameras
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.rlbench.demo_folders import VARIATION_FILE
from sam2act.data.rlbench.demo_writer import write_episode
from sam2act.data.rlbench.types import dump_published
from sam2act.envs.base import EnvConfig
from sam2act.envs.policy_inputs import policy_observation
from sam2act.envs.rlbench.env import RLBenchEnv
from sam2act.evaluation.scenes import EpisodeStart, recorded_backend
from sam2act.evaluation.worker import Began, Begin, Finish, Finished, Step, Stepped, Worker
from tests.envs.conftest import ACTION

TASK = "open_drawer"
SPEC = PolicySpec(square_cameras(POLICY_CAMERAS, 128, depth=True), language=None)


def record(env: RLBenchEnv, folder: Path) -> np.ndarray:
    """A demo as RLBench stores it: variation 0 in the pickle, the true one beside it."""
    demo = env.get_demo(1, 9, images="none")
    demo.variation_number = 0
    write_episode(folder, demo, ["open the middle drawer"], ())
    dump_published(1, folder / VARIATION_FILE)
    env.close()
    return demo[0].task_low_dim_state


def test_recorded_scene_is_restored_acted_in_and_filmed(
    rlbench_env: RLBenchEnv, world: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "episode0"
    expected = record(rlbench_env, folder)
    scene = EpisodeStart(TASK, 0, demo=folder, film=True)
    assert recorded_backend(scene) == "rlbench"
    worker = Worker(EnvConfig(TASK, backend="rlbench"))
    world.calls.clear()
    began = worker.handle(Begin(scene))
    assert isinstance(began, Began), began
    assert began.variation == 1 and began.seed is None
    assert world.named("reset") == [(1,)], "one reset, in the variation of the file"
    assert np.array_equal(began.observation.task_low_dim_state, expected)
    inputs = policy_observation([began.observation], SPEC, [0])
    assert inputs.rgb.shape == (1, 4, 128, 128, 3) and inputs.depth.shape == (1, 4, 128, 128)
    world.solved_after = 2
    stepped = worker.handle(Step(ACTION))
    assert isinstance(stepped, Stepped) and stepped.reward == 1.0 and stepped.terminal
    film = tmp_path / "film.gif"
    assert isinstance(worker.handle(Finish(True, film)), Finished)
    assert film.stat().st_size > 0
    worker.close()
    assert not world.launched
