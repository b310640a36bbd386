"""Episodes with simulators that succeed, fail, crash, die and hang."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sam2act.envs.base import EnvConfig
from sam2act.evaluation.results import EpisodeRow
from sam2act.evaluation.runner import EpisodeIds, EvaluationError, Runner, RunOptions
from sam2act.evaluation.scenes import Scene
from sam2act.evaluation.simulator import Simulator
from tests.evaluation.scripted_simulator import MARKS, CountingActor, ScriptedServant


@contextmanager
def open_simulators(count: int, time_limit: float = 2.0) -> Iterator[list[Simulator]]:
    config = EnvConfig("put_block_back")
    simulators = [Simulator(config, time_limit, ScriptedServant) for _ in range(count)]
    try:
        yield simulators
    finally:
        for simulator in simulators:
            simulator.close()


def run(script: str, workers: int = 1, actor: CountingActor | None = None) -> dict[int, EpisodeRow]:
    scenes = [Scene(script, number, seed=0) for number in range(len(script.split(",")))]
    with open_simulators(workers) as simulators:
        runner = Runner(simulators, actor or CountingActor(), RunOptions(episode_length=5))
        return {row.episode: row for row in runner.run(scenes)}


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS, str(tmp_path))


def test_every_way_an_episode_can_end_is_recorded() -> None:
    rows = run("ok,error,wander,exhausted,die_once,ok", workers=2)
    assert sorted(rows) == list(range(6))
    ends = [(r.success, r.reward, r.steps, r.failure) for _, r in sorted(rows.items())]
    assert ends == [
        (1, 100.0, 3, ""),
        (0, 0.0, 1, "InvalidActionError"),
        (0, 0.0, 5, "timeout"),
        (0, 0.0, 2, "demo exhausted"),
        (1, 100.0, 3, ""),  # after a second attempt
        (1, 100.0, 3, ""),
    ]
    assert [rows[i].variation for i in range(6)] == [0, 1, 0, 1, 0, 1]
    assert rows[0].instruction == "do ok" and rows[0].seed == 7


def test_dead_and_hung_simulators_are_replaced_and_counted_after_two_attempts() -> None:
    actor = CountingActor()
    rows = run("die,ok,hang,ok", actor=actor)
    assert [rows[i].failure for i in range(4)] == ["SimulatorDied", "", "SimulatorTimeout", ""]
    assert [episode for _, episode in actor.begun] == [0, 0, 1, 2, 2, 3]


def test_a_simulator_that_only_crashes_ends_the_evaluation() -> None:
    with pytest.raises(EvaluationError, match=r"3 episodes in succession.*KeyError: a bug"):
        run("crash,crash,crash,ok")


def test_an_impossible_request_ends_the_evaluation_at_once() -> None:
    with pytest.raises(EvaluationError, match="no such variation"):
        run("impossible,ok")


def test_every_episode_begins_anew_and_counts_its_own_steps() -> None:
    actor = CountingActor()
    run("ok,wander,ok", workers=2, actor=actor)
    assert sorted(episode for _, episode in actor.begun) == [0, 1, 2]
    assert sorted(step for _, step in actor.asked) == sorted([*range(3), *range(5), *range(3)])


def test_ids_keep_the_row_of_an_episode_whoever_runs_beside_it() -> None:
    ids = EpisodeIds(batch_size=4)
    assert [ids.take(episode) for episode in (0, 1, 5, 9)] == [0, 1, 5, 9]
    assert ids.take(4) == 4  # 0 is taken
    ids.taken.discard(5)
    assert ids.take(13) == 5, "the lowest free id of the same row"
    assert all(taken % 4 == episode % 4 for taken, episode in ((4, 4), (5, 13)))
