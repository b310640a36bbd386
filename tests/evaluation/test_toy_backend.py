"""Evaluation in an environment that is none of the package, with a policy that is none of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2act.core.errors import ConfigError
from sam2act.core.registry import ENVS
from sam2act.core.specs import TIME, CameraSpec, LanguageSpec, PolicySpec, SpecError
from sam2act.core.types import ActionChunk, ContractError, Instruction, Observation
from sam2act.envs.base import EnvConfig
from sam2act.envs.policy_inputs import policy_observation
from sam2act.evaluation.options import EvaluationOptions, OptionError
from sam2act.evaluation.results import EpisodeRow, read_description, read_rows
from sam2act.evaluation.run import Outcome, evaluate, session_target
from tests.evaluation.toy_backend import PLACE, PUSH, TARGET, make_env

SPEC = PolicySpec(
    camera_specs=(CameraSpec("side", 8, 12, depth=False),),
    language=LanguageSpec("words", 2, 3),
    state=(PLACE, TIME),
    action=dataclasses.replace(PUSH, horizon=2),
)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with ENVS.temporarily(toy=TARGET):
        yield


class Pusher:
    """Pushes as the instruction says, and keeps what it was shown."""

    def __init__(self, push: float = 0.25, spec: PolicySpec = SPEC) -> None:
        self.spec, self.push = spec, push
        self.seen: list[Observation] = []

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        """Nothing to forget."""

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        self.seen.append(observation)
        signs = [-1.0 if text == "go left" else 1.0 for text in language]
        values = self.push * torch.tensor(signs)[:, None, None].repeat(1, 2, 1)
        return ActionChunk(values, torch.ones(len(signs), 2, dtype=torch.bool), "push")


def run(
    folder: Path, session: Pusher | None = None, executor: str = "", **changes: Any
) -> tuple[Outcome, list[EpisodeRow]]:
    given = {"tasks": ("reach",), "seed": 0, "eval_episodes": 2, "workers": 1, "device": "cpu"}
    options = EvaluationOptions(folder, backend="toy", **(given | changes))
    outcome = evaluate(options, targets=[session_target("pusher", session or Pusher(), executor)])
    return outcome, read_rows(folder / "eval/none/pusher")


def test_episodes_end_at_the_threshold_of_the_reward(tmp_path: Path) -> None:
    session = Pusher()
    outcome, rows = run(tmp_path, session)
    assert outcome.rates == {"pusher": [100.0]} and outcome.lost == []
    assert [(row.success, row.reward, row.steps, row.failure) for row in rows] == [
        (1, 100.0, 4, "")
    ] * 2
    assert {row.instruction for row in rows} == {"go left", "go right"}
    first = session.seen[0]
    assert first.depth is None and first.intrinsics is None and first.cameras == ("side",)
    assert first.rgb.shape == (1, 1, 8, 12, 3) and first.rgb.unique().tolist() == [100]
    assert first.proprioception.tolist() == [[0.0, 1.0]]
    assert session.seen[1].proprioception[0].abs().tolist() == pytest.approx([0.25, 1 - 2 / 24])
    settings = read_description(tmp_path / "eval/none/pusher")["settings"]
    assert (settings["backend"], settings["control"], settings["goal"]) == ("toy", "push", 1.0)
    assert settings["episode_length"] == 6 and settings["perturb"] == []


def test_what_is_short_of_the_threshold_keeps_its_reward(tmp_path: Path) -> None:
    _, (row, _) = run(tmp_path, Pusher(0.125))
    assert (row.success, row.reward, row.steps, row.failure) == (0, 75.0, 6, "timeout")


def test_an_episode_that_the_environment_ends_is_no_timeout(tmp_path: Path) -> None:
    _, (row, _) = run(tmp_path, Pusher(-0.625))
    assert (row.success, row.reward, row.steps, row.failure) == (0, -125.0, 2, "unsolved")


def test_its_own_options_and_an_executor(tmp_path: Path) -> None:
    session = Pusher()
    outcome, rows = run(tmp_path, session, "open_loop(k=2)", env_opts="goal 0.5")
    assert [row.steps for row in rows] == [2, 2] and outcome.rates == {"pusher": [100.0]}
    assert len(session.seen) == 2, "one prediction for two actions"
    assert (
        read_description(tmp_path / "eval/none/pusher")["settings"]["executor"] == "open_loop(k=2)"
    )
    with pytest.raises(ConfigError, match="unknown key gaol"):
        run(tmp_path, env_opts="gaol 0.5")


def test_a_policy_may_say_what_is_executed(tmp_path: Path) -> None:
    session = Pusher(spec=dataclasses.replace(SPEC, executor="open_loop(k=2)"))
    run(tmp_path, session, eval_episodes=1)
    assert len(session.seen) == 2, "two predictions for four actions"
    run(tmp_path, session, "single", eval_episodes=1, log_name="every")
    assert len(session.seen) == 2 + 4


def test_a_policy_may_look_back(tmp_path: Path) -> None:
    session = Pusher(spec=dataclasses.replace(SPEC, offsets=(-2, 0)))
    run(tmp_path, session, eval_episodes=1)
    places = [seen.proprioception[0, :, 0].abs().tolist() for seen in session.seen]
    assert places == [[0.0, 0.0], [0.0, 0.25], [0.0, 0.5], [0.25, 0.75]]
    assert session.seen[0].rgb.shape == (1, 2, 1, 8, 12, 3)


MISMATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "camera": (
        {"camera_specs": (CameraSpec("front", 8, 12, depth=False),)},
        "policy wants camera front, environment gives side",
    ),
    "depth": (
        {"camera_specs": (CameraSpec("side", 8, 12),)},
        "policy wants depth of side, environment gives rgb only",
    ),
    "image size": (
        {"camera_specs": (CameraSpec("side", 16, 12, depth=False),)},
        "policy wants 12 x 16 pixels of side, environment gives 12 x 8",
    ),
    "state": (
        {"state": (dataclasses.replace(PLACE, name="height"),)},
        "policy wants state height, environment gives place",
    ),
    "unit": (
        {"state": (dataclasses.replace(PLACE, unit="mm"),)},
        r"policy wants state place of 1 \(mm in the line frame\), environment gives place of 1 "
        r"\(m in the line frame\)",
    ),
    "control": (
        {"action": dataclasses.replace(PUSH, mode="pull")},
        "policy gives actions of mode pull, environment takes push",
    ),
    "rate": (
        {"action": dataclasses.replace(PUSH, rate=30.0)},
        "policy acts at 30 Hz, environment takes 10 Hz",
    ),
    "length": (
        {"episode_length": 5},
        "policy knows the time of 5 steps, environment has episodes of 6",
    ),
}


@pytest.mark.parametrize("kind", MISMATCHES)
def test_mismatches_are_refused_before_anything_is_written(tmp_path: Path, kind: str) -> None:
    changes, message = MISMATCHES[kind]
    with pytest.raises(SpecError, match=f"^pusher cannot act in backend toy: {message}$"):
        run(tmp_path, Pusher(spec=dataclasses.replace(SPEC, **changes)))
    assert not (tmp_path / "eval").exists()


def test_what_the_environment_cannot_do_is_told(tmp_path: Path) -> None:
    for number in (1, None):
        with pytest.raises(OptionError, match="^backend toy cannot be filmed; leave --save-video"):
            run(tmp_path, save_video=number)
    assert not (tmp_path / "eval").exists()
    with pytest.raises(OptionError, match="--tasks: all stands for tasks of RLBench, .* reach, le"):
        run(tmp_path, tasks=("all",))
    with pytest.raises(OptionError, match="--tasks: task 'raech' does not exist"):
        run(tmp_path, tasks=("raech",))
    with pytest.raises(ConfigError, match="--perturb: backend toy has no option perturbations; it"):
        run(tmp_path, env_options={"perturbations": ("table_color",)})


def test_an_observation_without_what_the_spec_promises_is_refused() -> None:
    frame = make_env(EnvConfig("reach", "toy")).reset(0, 0)[1]
    other = dataclasses.replace(SPEC, camera_specs=(CameraSpec("front", 8, 12, depth=False),))
    with pytest.raises(ContractError, match="rgb: expected that of camera front, .* gives side"):
        policy_observation([frame], other, [0])
    other = dataclasses.replace(SPEC, state=(dataclasses.replace(PLACE, size=2),))
    with pytest.raises(ContractError, match=r"expected 2 numbers of place, got shape \(1,\)"):
        policy_observation([frame], other, [0])
