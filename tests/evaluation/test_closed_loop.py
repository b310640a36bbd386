"""Policies in the embedded simulator: batching, memories, scenes. A network with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.envs.base import EnvConfig
from sam2act.envs.recording.demo_generation import Request, generate
from sam2act.evaluation.actors import DemoActor, PolicyActor, Turn
from sam2act.evaluation.results import EpisodeRow
from sam2act.evaluation.runner import Runner, RunOptions
from sam2act.evaluation.scenes import EpisodeStart, demo_scenes
from sam2act.evaluation.worker import SimulatorProcess
from sam2act.language.text_encoder import build_text_encoder
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.executors import SingleExecutor
from sam2act.policies.multiview.quantisation_bound import QuantisedDecoder
from sam2act.policies.sam2act.policy import SAM2ActPolicy
from sam2act.policies.session import PolicySession

TASK, EPISODES, BATCH = "put_block_back", 4, 2
KEYFRAMES = 12  # of the task
Actions = dict[tuple[int, int], np.ndarray]  # by episode and step
EXPERIMENT = load_experiment("configs/tiny.yaml")
NETWORK = load_network(
    "configs/mvt/tiny_plus.yaml", "depth 2 memory_init reference data.points 2048 num_maskmem 3"
)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demos without a single image: whoever reads one fails."""
    folder = tmp_path_factory.mktemp("demos")
    list(generate(Request((TASK,), EPISODES, folder, seed=3, images="none"), workers=1))
    assert not list(folder.rglob("*.png"))
    return folder


def random_policy() -> PolicySession:
    encoder = build_text_encoder(EXPERIMENT.language, NETWORK.lang_len, NETWORK.lang_dim)
    bundle = build_policy(EXPERIMENT, NETWORK, seed=1)
    return PolicySession(bundle, batch_size=BATCH, text_encoder=encoder)


class Watched:
    """Asks the policy and notes its answers, but follows the demos, so that episodes go on."""

    def __init__(self, *, forget: bool = True) -> None:
        self.network = random_policy()
        self.spec = self.network.spec
        self.policy = PolicyActor(SingleExecutor(self.network), self.spec)
        self.demo = DemoActor(QuantisedDecoder(EXPERIMENT, NETWORK))
        self.forget = forget
        self.actions: Actions = {}
        self.most_together = 0
        self._episode: dict[int, int] = {}

    def begin(self, env_id: int, scene: EpisodeStart) -> None:
        self._episode[env_id] = scene.episode
        self.demo.begin(env_id, scene)
        if self.forget:
            self.policy.begin(env_id, scene)

    def act(self, turns: Sequence[Turn]) -> list[np.ndarray | None]:
        answers = self.policy.act(turns)
        self.most_together = max(self.most_together, len(turns))
        for turn, answer in zip(turns, answers, strict=True):
            assert answer is not None
            self.actions[self._episode[turn.env_id], turn.step] = answer
        return self.demo.act(turns)

    def forward_passes(self, env_id: int) -> int:
        return self.policy.forward_passes(env_id)


def run(
    demos: Path, workers: int, actor: Watched, episodes: Sequence[int] = range(EPISODES)
) -> list[EpisodeRow]:
    scenes = [demo_scenes(demos, TASK, number, 1, restore=True)[0] for number in episodes]
    simulators = [
        SimulatorProcess(EnvConfig(TASK, cameras=actor.spec.cameras), time_limit=60)
        for _ in range(workers)
    ]
    options = RunOptions(episode_length=25, batch_size=BATCH)
    try:
        rows = list(Runner(simulators, actor, options).run(scenes))
    finally:
        for simulator in simulators:
            simulator.close()
    return sorted(rows, key=lambda row: row.episode)


def equal(first: Actions, second: Actions) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key]) for key in first
    )


def without_time(rows: list[EpisodeRow]) -> list[tuple]:
    return [(r.key, r.variation, r.seed, r.success, r.reward, r.steps, r.failure) for r in rows]


def test_results_do_not_depend_on_the_number_of_simulators(demos: Path) -> None:
    alone, together = Watched(), Watched()
    rows = run(demos, 1, alone)
    assert [row.success for row in rows] == [1] * EPISODES  # the demos' keyframes solve the task
    assert {row.steps for row in rows} == {KEYFRAMES} and len({row.variation for row in rows}) == 4
    assert without_time(run(demos, 4, together)) == without_time(rows)
    assert alone.most_together == 1 and together.most_together > 1
    assert len(alone.actions) == KEYFRAMES * EPISODES
    assert equal(alone.actions, together.actions), "every action, to the last bit"


def heatmaps_of(actor: Watched) -> list[torch.Tensor]:
    """A list that fills with the coarse heat maps of every prediction."""
    network = actor.network.policy
    assert isinstance(network, SAM2ActPolicy)
    seen: list[torch.Tensor] = []
    predict = network.predict_step

    def noting(*arguments: Any) -> Any:
        prediction, bank = predict(*arguments)
        seen.append(prediction.output.coarse.heatmaps)
        return prediction, bank

    network.predict_step = noting  # type: ignore[method-assign]
    return seen


def test_memory_starts_empty_in_every_episode(demos: Path) -> None:
    single, second, leaking = Watched(), Watched(), Watched(forget=False)
    heatmaps = [heatmaps_of(actor) for actor in (single, second, leaking)]
    run(demos, 1, single, episodes=[2])
    run(demos, 1, second, episodes=[0, 2])
    run(demos, 1, leaking, episodes=[0, 2])
    alone, after_another, leaked = (maps[-KEYFRAMES:] for maps in heatmaps)
    assert [len(maps) for maps in heatmaps] == [KEYFRAMES, 2 * KEYFRAMES, 2 * KEYFRAMES]
    for map_alone, map_after in zip(alone, after_another, strict=True):
        assert torch.equal(map_alone, map_after)
    # What the test is for: where the memory is kept, it shows.
    assert not torch.allclose(alone[0], leaked[0], atol=1e-4)


def test_a_killed_simulator_changes_no_result(demos: Path) -> None:
    undisturbed = without_time(run(demos, 1, Watched()))
    actor = Watched()
    scenes = demo_scenes(demos, TASK, 0, EPISODES, restore=True)
    simulators = [SimulatorProcess(EnvConfig(TASK), time_limit=60) for _ in range(2)]
    rows = []
    with closing(Runner(simulators, actor, RunOptions(batch_size=BATCH)).run(scenes)) as episodes:
        for row in episodes:
            if not rows:
                simulators[0]._process.kill()
            rows.append(row)
    for simulator in simulators:
        simulator.close()
    assert without_time(sorted(rows, key=lambda row: row.episode)) == undisturbed
