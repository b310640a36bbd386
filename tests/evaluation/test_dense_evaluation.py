"""Evaluation under dense control modes of the embedded simulator; how often policies are loaded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2act.core.actions import EE_DELTA, EE_POSE, KEYFRAME_POSE, ActionSpec
from sam2act.core.specs import GRIPPER_POSE, ROBOT_STATE, LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import ActionChunk, Instruction, Observation
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.base import EnvConfig, scripted
from sam2act.envs.recording.dense_demos import dense_actions
from sam2act.envs.registry import make_env
from sam2act.envs.seeding import episode_seed, episode_variation
from sam2act.evaluation import run as program
from sam2act.evaluation.options import EvaluationOptions, OptionError
from sam2act.evaluation.results import read_description, read_rows
from sam2act.evaluation.run import Target, evaluate, session_target
from tests.data.synthetic_demos import write_synthetic_task

TASK, SEED, HELD = "open_drawer", 5, 10


class Replayer:
    """Gives the dense actions of the demonstration of the first episode, then holds still."""

    def __init__(self, action: ActionSpec) -> None:
        self.spec = PolicySpec(
            camera_specs=square_cameras(("front",), 32, depth=False),
            language=LanguageSpec("none", 1, 1),
            state=ROBOT_STATE,
            action=action,
        )
        env = make_env(EnvConfig(TASK, cameras=()))
        variation = episode_variation(SEED, TASK, 0, env.variation_count())
        demo = scripted(env).get_demo(variation, episode_seed(SEED, TASK, 0), images="none")
        self.actions = torch.from_numpy(dense_actions(demo, action.mode))
        self.step = 0

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        self.step = 0

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        assert observation.rgb.shape == (1, 1, 32, 32, 3) and observation.depth is None
        values = self.actions[min(self.step, len(self.actions) - 1)].clone()
        if self.step >= len(self.actions) and self.spec.action.mode == EE_DELTA.mode:
            values[:-1] = 0.0
        self.step += 1
        valid = torch.ones(1, 1, dtype=torch.bool)
        return ActionChunk(values[None, None], valid, self.spec.action.mode)


class ChunkReplayer(Replayer):
    """Gives eight deltas at a time and sees where the gripper is."""

    def __init__(self) -> None:
        super().__init__(EE_DELTA)
        action = dataclasses.replace(EE_DELTA, horizon=8)
        self.spec = dataclasses.replace(self.spec, state=(GRIPPER_POSE,), action=action)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        still = torch.zeros(8, 7)
        still[:, 6] = self.actions[-1, 6]
        values = torch.cat([self.actions[self.step : self.step + 8], still])[:8]
        self.step += 8
        return ActionChunk(values[None], torch.ones(1, 8, dtype=torch.bool), EE_DELTA.mode)


def one_episode(folder: Path, **more: Any) -> EvaluationOptions:
    options = EvaluationOptions(folder, tasks=(TASK,), backend="embedded", seed=SEED)
    return dataclasses.replace(options, eval_episodes=1, device="cpu", **more)


@pytest.mark.parametrize("action", [EE_POSE, EE_DELTA], ids=lambda action: action.mode)
def test_dense_actions_solve_their_episode_and_are_filmed(
    tmp_path: Path, action: ActionSpec
) -> None:
    session = Replayer(action)
    options = one_episode(tmp_path, save_video=1)
    outcome = evaluate(options, targets=[session_target("replayer", session)])
    folder = tmp_path / "eval/none/replayer"
    (row,) = read_rows(folder)
    assert outcome.rates == {"replayer": [100.0]} and row.success == 1
    assert 25 < row.steps <= len(session.actions) + HELD
    assert (folder / row.video).stat().st_size > 1000
    settings = read_description(folder)["settings"]
    assert settings["control"] == action.mode and settings["episode_length"] == 400


def test_deltas_from_the_measured_pose_are_executed_as_poses(tmp_path: Path) -> None:
    target = session_target("replayer", ChunkReplayer(), "open_loop(8, base='measured')")
    outcome = evaluate(one_episode(tmp_path), targets=[target])
    settings = read_description(tmp_path / "eval/none/replayer")["settings"]
    assert settings["control"] == EE_POSE.mode and "measured" in settings["executor"]
    assert outcome.rates == {"replayer": [100.0]}


def test_the_length_may_follow_the_demos(tmp_path: Path) -> None:
    demos = write_synthetic_task(tmp_path, task=TASK, episodes=2, image_size=8)
    longest = max(map(len, demos))
    session = Replayer(EE_POSE)
    session.actions = session.actions[:1]  # holds still
    options = one_episode(tmp_path, demo_lengths=1.5, eval_datafolder=tmp_path / "train")
    evaluate(options, targets=[session_target("replayer", session)])
    folder = tmp_path / "eval/none/replayer"
    (row,) = read_rows(folder)
    assert row.failure == "timeout" and row.steps == math.ceil(1.5 * longest)
    assert read_description(folder)["settings"]["episode_length"] == row.steps
    absent = dataclasses.replace(options, eval_datafolder=tmp_path / "test", resume=True)
    with pytest.raises(DemoError, match="test"):
        evaluate(absent, targets=[session_target("replayer", session)])
    with pytest.raises(OptionError, match="give one of them"):
        dataclasses.replace(options, episode_length=25)
    session.spec = dataclasses.replace(session.spec, action=KEYFRAME_POSE)
    with pytest.raises(OptionError, match="counts frames, but the policy acts in keyframes"):
        evaluate(options, targets=[session_target("keyframes", session)])


def test_each_checkpoint_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def target(name: str) -> Target:
        inner = session_target(name, Replayer(EE_POSE))

        def load():  # type: ignore[no-untyped-def]
            loaded.append(name)
            return inner.load()

        return Target(name, load, {"name": name})

    names = [f"model_{number}" for number in range(program.KEPT)]
    monkeypatch.setattr(program, "find_targets", lambda *_: [target(name) for name in names])
    options = one_episode(tmp_path, episode_length=1, workers=1)
    assert list(evaluate(options).rates) == names
    assert sorted(loaded) == names, "checked and then used, but read once"
