"""Executors: which action of which prediction is executed, counted per episode."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import UserError
from sam2act.core.specs import LanguageSpec, PolicySpec, square_cameras
from sam2act.core.types import (
    ActionChunk,
    Instruction,
    Observation,
    Session,
)
from sam2act.geometry.scene_bounds import SceneBounds
from sam2act.policies.ensembles import AdaptiveEnsembleExecutor, MovingAverageExecutor
from sam2act.policies.executors import (
    EpisodeState,
    Executor,
    OpenLoopExecutor,
    SingleExecutor,
    build_executor,
)
from sam2act.policies.observations import random_observation
from sam2act.processing.blending import blend, similarity_weights
from tests.golden_files import GoldenFile, golden

SPEC = PolicySpec(
    square_cameras(("front",), 4, depth=True),
    LanguageSpec("hashed", 1, 1),
    action=dataclasses.replace(KEYFRAME_POSE, horizon=3),
    bounds=SceneBounds.from_sequence((-1, -1, -1, 1, 1, 1)),
)


class Counter:
    """Predicts three actions: the id of the environment and 0, 1, 2."""

    spec = SPEC

    def __init__(self) -> None:
        self.resets: list[Sequence[int] | None] = []

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        self.resets.append(env_ids)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        assert env_ids is not None and len(env_ids) == len(observation)
        values = torch.tensor([[[e, step] for step in range(3)] for e in env_ids])
        return ActionChunk(values, torch.tensor([[True, False, False]] * len(env_ids)), "raw")


def act(executor: Executor, *ids: int) -> ActionChunk:
    observation = random_observation(SPEC, len(ids), torch.Generator().manual_seed(0))
    return executor.act(observation, ["go"] * len(ids), ids)


def test_first_action_of_every_chunk_is_executed() -> None:
    chunk = act(SingleExecutor(Counter()), 5, 2)
    assert chunk.values.tolist() == [[[5, 0]], [[2, 0]]]
    assert chunk.valid.tolist() == [[True], [True]] and chunk.space == "raw"


def test_counts_belong_to_episodes() -> None:
    policy = Counter()
    executor = SingleExecutor(policy)
    act(executor, 0, 1)
    act(executor, 1)
    assert executor.episode(0) == EpisodeState(1, 1)
    assert executor.episode(1) == EpisodeState(2, 2)
    executor.reset([1])
    assert executor.episode(0) == EpisodeState(1, 1) and executor.episode(1) == EpisodeState()
    executor.reset()
    assert executor.episode(0) == EpisodeState()
    assert executor.forward_passes == 3  # since construction
    assert policy.resets == [[1], None]


def test_ids_default_to_the_rows() -> None:
    executor = SingleExecutor(Counter())
    observation = random_observation(SPEC, 3, torch.Generator().manual_seed(0))
    assert executor.act(observation, ["go"] * 3).values[:, 0, 0].tolist() == [0, 1, 2]
    assert executor.episode(2) == EpisodeState(1, 1)


def test_executors_are_built_by_name() -> None:
    assert isinstance(build_executor("single", Counter()), SingleExecutor)
    executor = build_executor("open_loop(k=2, smooth=3)", Counter())
    assert isinstance(executor, OpenLoopExecutor)
    assert (executor.k, executor.smooth) == (2, 3)
    ensemble = build_executor("adaptive_ensemble(7, alpha=-0.5)", Counter())
    assert isinstance(ensemble, AdaptiveEnsembleExecutor) and ensemble.alpha == -0.5
    assert isinstance(build_executor(" moving_average(3)", Counter()), MovingAverageExecutor)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("double", "'double' is not one of single, open_loop"),
        ("openloop(4)", "did you mean open_loop"),
        ("single(k=1)", "unexpected keyword argument 'k'; parameters: none"),
        ("open_loop", "missing a required argument: 'k'; parameters: k, smooth=1, base="),
        ("open_loop(4, k=4)", "multiple values"),
        ("open_loop(n=4)", "parameters: k, smooth=1, base='commanded'"),
        ("open_loop(k=0)", "k=0 must be a whole number, at least 1"),
        ("open_loop(k=True)", "k=True must be"),
        ("open_loop(k=1.5)", "k=1.5 must be"),
        ("open_loop(k=2, smooth=2)", "smooth=2 must be odd"),
        ("moving_average(n='3')", "n='3' must be"),
        ("adaptive_ensemble(2, alpha='1')", "alpha='1' must be a finite number"),
        ("adaptive_ensemble(2, alpha=1e999)", "must be a finite number"),
        ("open_loop(k=four)", "write it like open_loop"),
        ("open_loop(k=4", "write it like open_loop"),
        ("open-loop(4)", "write it like open_loop"),
        ("", "write it like open_loop"),
    ],
)
def test_wrong_descriptions_are_refused(description: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^executor: .*{re.escape(message)}") as caught:
        build_executor(description, Counter())
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------- chunks over time
class Scripted:
    """Predicts chunks of 4 actions that depend on environment, step and position in the chunk."""

    spec = SPEC

    def __init__(self, constant: bool = False, space: str = "raw") -> None:
        self.constant, self.space = constant, space
        self.steps: dict[int, int] = {}
        self.calls: list[list[int]] = []
        self.heard: list[list[str]] = []

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        for env_id in list(self.steps) if env_ids is None else env_ids:
            self.steps.pop(env_id, None)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        assert env_ids is not None and len(env_ids) == len(observation) == len(language)
        self.calls.append(list(env_ids))
        self.heard.append([str(text) for text in language])
        chunks = []
        for env_id in env_ids:
            step = self.steps[env_id] = self.steps.get(env_id, -1) + 1
            seed = 1000 * env_id + (0 if self.constant else step)
            noise = torch.rand((4, 9), generator=torch.Generator().manual_seed(seed))
            noise = noise[:1].expand(4, 9) if self.constant else noise
            turn = torch.nn.functional.normalize(noise[:, 3:7], dim=-1)
            chunks.append(torch.cat([noise[:, :3], turn, noise[:, 7:]], dim=-1))
        return ActionChunk(
            torch.stack(chunks), torch.ones(len(chunks), 4, dtype=torch.bool), self.space
        )


EVERY = ("single", "open_loop(1)", "open_loop(3)", "open_loop(4, smooth=3)")
EVERY += ("adaptive_ensemble(3, 0.7)", "moving_average(2)", "moving_average(9)")


def run(description: str, policy: Session, calls: Sequence[Sequence[int]]) -> dict[int, Tensor]:
    """The actions (steps, A) that each environment executed."""
    executor = build_executor(description, policy)
    done: dict[int, list[Tensor]] = {}
    for ids in calls:
        chunk = act(executor, *ids)
        assert chunk.values.shape == (len(ids), 1, 9) and chunk.valid.shape == (len(ids), 1)
        for env_id, values in zip(ids, chunk.values, strict=True):
            done.setdefault(env_id, []).append(values[0])
    return {env_id: torch.stack(actions) for env_id, actions in done.items()}


@pytest.mark.parametrize("description", ["open_loop(1)", "moving_average(1)"])
def test_shortest_memory_equals_single(description: str) -> None:
    calls = [[0, 1], [1], [1, 0], [0, 1]]
    single = run("single", Scripted(), calls)
    other = run(description, Scripted(), calls)
    assert all(torch.equal(single[env_id], other[env_id]) for env_id in (0, 1))


@pytest.mark.parametrize("space", ["raw", "keyframe_pose"])
@pytest.mark.parametrize("description", EVERY)
def test_constant_predictions_are_a_fixed_point(description: str, space: str) -> None:
    actions = run(description, Scripted(constant=True, space=space), [[3]] * 6)[3]
    torch.testing.assert_close(actions, actions[:1].expand_as(actions), rtol=0, atol=3e-7)
    first = run("single", Scripted(constant=True), [[3]])[3]
    torch.testing.assert_close(actions[:1], first, rtol=0, atol=3e-7)


@pytest.mark.parametrize("description", EVERY)
def test_order_and_company_of_environments_do_not_matter(description: str) -> None:
    alone = {env_id: run(description, Scripted(), [[env_id]] * 5)[env_id] for env_id in (0, 1, 7)}
    calls = [[7, 0], [0, 1, 7], [1], [7, 1, 0], [0, 7, 1], [1, 0, 7]]
    together = run(description, Scripted(), calls)
    for env_id, expected in alone.items():
        assert torch.equal(together[env_id][:5], expected)


@pytest.mark.parametrize("description", EVERY)
def test_reset_forgets_the_named_episodes_only(description: str) -> None:
    executor = build_executor(description, Scripted())
    fresh = [act(executor, 0, 1).values for _ in range(5)]
    executor.reset([1])
    after = [act(executor, 0, 1).values for _ in range(5)]
    other = run(description, Scripted(), [[0]] * 10)[0]
    for step in range(5):
        assert torch.equal(after[step][1], fresh[step][1])
        assert torch.equal(after[step][0, 0], other[5 + step])
    executor.reset()
    assert torch.equal(act(executor, 0, 1).values, fresh[0])


# ------------------------------------------------------------------------------------ open loop
def test_open_loop_predicts_where_its_actions_are_used_up() -> None:
    policy = Scripted()
    executor = build_executor("open_loop(k=3)", policy)
    observation = random_observation(SPEC, 3, torch.Generator().manual_seed(0))
    first = observation.select(torch.tensor([0]))
    executor.act(first, ["a"], [5])
    texts = ["a", "b", "c"]
    for _ in range(3):
        executor.act(observation, texts, [5, 6, 7])
    assert policy.calls == [[5], [6, 7], [5]]
    assert policy.heard == [["a"], ["b", "c"], ["a"]]
    assert executor.episode(5) == EpisodeState(4, 2) and executor.episode(6) == EpisodeState(3, 1)
    assert executor.forward_passes == 4


def test_open_loop_passes_token_features_of_those_that_predict() -> None:
    executor = build_executor("open_loop(2)", policy := Scripted())
    observation = random_observation(SPEC, 2, torch.Generator().manual_seed(0))
    executor.act(observation.select(torch.tensor([1])), torch.ones(1, 1, 1), [1])
    executor.act(observation, torch.tensor([[[4.0]], [[5.0]]]), [0, 1])
    assert policy.heard[1] == [str(torch.tensor([[4.0]]))]


def test_open_loop_executes_no_invalid_action_of_a_chunk() -> None:
    executor = build_executor("open_loop(3)", Counter())  # only the first action is valid
    for passes in (1, 2, 3):
        assert act(executor, 4).values.tolist() == [[[4, 0]]]
        assert executor.episode(4) == EpisodeState(passes, passes)


def test_open_loop_refuses_more_actions_than_are_predicted() -> None:
    with pytest.raises(UserError, match=r"k=5, but the policy predicts 3 actions.*at most 3"):
        act(build_executor("open_loop(k=5)", Counter()), 0)


def test_open_loop_smooths_a_chunk_with_repeated_ends() -> None:
    plain = run("open_loop(4)", Scripted(), [[0]] * 4)[0]
    smooth = run("open_loop(4, smooth=3)", Scripted(), [[0]] * 4)[0]
    ends = torch.cat([plain[:1], plain, plain[-1:]])
    torch.testing.assert_close(smooth, (ends[:-2] + ends[1:-1] + ends[2:]) / 3)


# ------------------------------------------------------------------------------------ ensembles
class Replay(Scripted):
    """Predicts stored chunks (steps, H, A), one after the other."""

    def __init__(self, chunks: Tensor, valid: Tensor | None = None, space: str = "raw") -> None:
        super().__init__(space=space)
        self.chunks = chunks
        self.valid = torch.ones(chunks.shape[:2], dtype=torch.bool) if valid is None else valid

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        step = self.steps[0] = self.steps.get(0, -1) + 1
        return ActionChunk(self.chunks[step : step + 1], self.valid[step : step + 1], self.space)


def replay(description: str, policy: Replay) -> Tensor:
    """The actions (steps, A) executed while all stored chunks are predicted."""
    executor = build_executor(description, policy)
    return torch.stack([act(executor, 0).values[0, 0] for _ in policy.chunks])


@golden("related_dit_action.npz")
@pytest.mark.parametrize("horizon", [7, 2])
def test_adaptive_ensemble_gives_expected_actions(golden_file: GoldenFile, horizon: int) -> None:
    arrays = golden_file.arrays()
    chunks = torch.from_numpy(arrays["ensemble_preds"])
    actions = replay(f"adaptive_ensemble(horizon={horizon}, alpha=0.1)", Replay(chunks))
    expected = torch.from_numpy(arrays[f"ensemble_h{horizon}_a0.1"])
    torch.testing.assert_close(actions, expected, rtol=0, atol=1e-12)


@golden("related_dit_action.npz")
def test_weights_of_single_actions_are_the_expected_ones(golden_file: GoldenFile) -> None:
    arrays = golden_file.arrays()
    steps = torch.from_numpy(arrays["ensemble_preds"])[:, 0]
    for step, expected in enumerate(torch.from_numpy(arrays["ensemble_1d_h7_a0.1"])):
        last = steps[max(step - 6, 0) : step + 1].flip(0)
        mean = blend(last, similarity_weights(last, 0.1), "raw")
        torch.testing.assert_close(mean, expected, rtol=0, atol=1e-12)


def test_moving_average_is_the_mean_of_what_was_said_of_this_step() -> None:
    chunks = torch.arange(4 * 3 * 2, dtype=torch.float64).reshape(4, 3, 2) ** 2
    actions = replay("moving_average(2)", Replay(chunks))
    assert torch.equal(actions[0], chunks[0, 0])
    for step in range(1, 4):
        assert torch.equal(actions[step], (chunks[step, 0] + chunks[step - 1, 1]) / 2)
    flat = replay("moving_average(9)", Replay(chunks))  # a chunk of 3 tells of 3 steps only
    assert torch.allclose(flat[3], (chunks[3, 0] + chunks[2, 1] + chunks[1, 2]) / 3)


def test_invalid_predictions_do_not_count() -> None:
    chunks = torch.rand(3, 3, 2, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(3, 3, dtype=torch.bool)
    valid[0, 1] = valid[2, 0] = False
    executor = build_executor("moving_average(3)", Replay(chunks, valid))
    steps = [act(executor, 0) for _ in range(3)]
    assert torch.allclose(steps[1].values[0, 0], chunks[1, 0])  # the older one does not count
    assert torch.allclose(steps[2].values[0, 0], chunks[2, 0])  # the newest one as it is
    assert [bool(step.valid) for step in steps] == [True, True, False]


def test_mean_of_rotations_is_a_rotation_whatever_their_signs() -> None:
    half = 0.5**0.5
    turned = torch.tensor([0.0, 0, 0, 0, 0, half, half, 1, 0])  # 90 degrees about z
    still = torch.tensor([2.0, 0, 0, 0, 0, 0, -1, 0, 0])  # none, with the opposite sign
    chunks = torch.stack([still.expand(2, 9), turned.expand(2, 9)])
    action = replay("moving_average(2)", Replay(chunks, space="keyframe_pose"))[1]
    eighth = math.pi / 8  # half of 45 degrees
    expected = [1, 0, 0, 0, 0, math.sin(eighth), math.cos(eighth), 0.5, 0]
    torch.testing.assert_close(action, torch.tensor(expected))
