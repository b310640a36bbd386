"""Episodes with simulators that succeed, fail, crash, die and hang."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.envs.base import EnvConfig
from sam2act.evaluation.results import EpisodeRow
from sam2act.evaluation.runner import EpisodeIds, EvaluationError, Runner, RunOptions
from sam2act.evaluation.scenes import EpisodeStart
from sam2act.evaluation.worker import SimulatorProcess
from tests.evaluation.scripted_simulator import MARKS, CountingActor, ScriptedServant


@contextmanager
def open_simulators(count: int, time_limit: float = 2.0) -> Iterator[list[SimulatorProcess]]:
    config = EnvConfig("put_block_back")
    simulators = [SimulatorProcess(config, time_limit, ScriptedServant) for _ in range(count)]
    try:
        yield simulators
    finally:
        for simulator in simulators:
            simulator.close()


def run(
    script: str, workers: int = 1, actor: CountingActor | None = None, **options: Any
) -> dict[int, EpisodeRow]:
    scenes = [EpisodeStart(script, number, seed=0) for number in range(len(script.split(",")))]
    with open_simulators(workers) as simulators:
        chosen = RunOptions(**({"episode_length": 5} | options))
        runner = Runner(simulators, actor or CountingActor(), chosen)
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
        (0, 0.0, 2, "InvalidActionError"),  # the action that failed is a step
        (0, 0.0, 5, "timeout"),
        (0, 0.0, 2, "demo exhausted"),
        (1, 100.0, 3, ""),  # after a second attempt
        (1, 100.0, 3, ""),
    ]
    assert [rows[i].variation for i in range(6)] == [0, 1, 0, 1, 0, 1]
    assert rows[0].instruction == "do ok" and rows[0].seed == 7
    assert rows[4].targets == ((0.0,) * 9, (1.0,) * 9, (2.0,) * 9), "of the second attempt alone"


def test_the_policy_is_told_the_wording_that_is_asked_for() -> None:
    assert run("ok", wording=1)[0].instruction == "please ok"
    with pytest.raises(EvaluationError, match="--wording 2: task ok has the instructions 0 to 1"):
        run("ok", wording=2)


def test_dead_and_hung_simulators_are_replaced_and_counted_after_two_attempts() -> None:
    actor = CountingActor()
    rows = run("die,ok,hang,ok", actor=actor)
    assert [rows[i].failure for i in range(4)] == ["SimulatorDied", "", "SimulatorTimeout", ""]
    assert [episode for _, episode in actor.begun] == [0, 0, 1, 2, 2, 3]


def test_a_simulator_that_only_crashes_ends_the_evaluation() -> None:
    with pytest.raises(EvaluationError, match=r"3 episodes in succession.*KeyError: a bug"):
        run("crash,crash,crash,ok")


def test_episodes_that_a_broken_simulator_loses_are_told_only_if_it_recovers() -> None:
    told: list[EpisodeRow] = []
    scenes = [EpisodeStart("ok,crash,crash,crash", number, seed=0) for number in range(4)]
    with open_simulators(1) as simulators:
        runner = Runner(simulators, CountingActor(), RunOptions())
        with pytest.raises(EvaluationError, match="3 episodes in succession"):
            told.extend(runner.run(scenes))
    assert [row.episode for row in told] == [0], "the others are run again after a remedy"
    rows = run("crash,ok,crash")
    assert [rows[i].failure for i in range(3)] == [
        "SimulatorDied: KeyError",
        "",
        "SimulatorDied: KeyError",
    ]


def test_a_film_that_cannot_be_written_costs_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scenes = [EpisodeStart("unfilmed,ok", number, seed=0, film=True) for number in range(2)]
    with open_simulators(1) as simulators:
        process = simulators[0]._process
        rows = list(Runner(simulators, CountingActor(), RunOptions()).run(scenes))
        assert simulators[0]._process is process, "it was not restarted"
    assert [(row.success, row.video != "") for row in rows] == [(1, False), (1, True)]
    assert "_success_0.mp4 could not be written: the disk is full" in caplog.text


def test_what_acting_costs_is_told_per_episode() -> None:
    names = "ok,error,wander,exhausted"
    scenes = [EpisodeStart(names, number, seed=0) for number in range(4)]
    with open_simulators(1, time_limit=60.0) as simulators:
        options = RunOptions(episode_length=5)
        rows = list(Runner(simulators, SlowActor(0.02), options).run(scenes))
    acting = [row.acting for row in rows if row.acting is not None]
    assert [found.forward_passes for found in acting] == [3, 2, 5, 3], "the last one without action"
    for found in acting:
        assert found.simulator_seconds >= 0  # of a scripted one perhaps nothing
        assert found.policy_seconds >= 0.02 * found.forward_passes


class SlowActor(CountingActor):
    """Takes `seconds` per call."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def act(self, *arguments: Any) -> list[np.ndarray | None]:
        """As every one, later."""
        time.sleep(self.seconds)
        return super().act(*arguments)


def test_time_that_replies_wait_for_the_network_does_not_count() -> None:

    scenes = [EpisodeStart("ok,ok,ok", number, seed=0) for number in range(3)]
    with open_simulators(3, time_limit=1.0) as simulators:
        rows = list(Runner(simulators, SlowActor(0.8), RunOptions()).run(scenes))
        assert max(simulator.used for simulator in simulators) < 0.5
    assert [row.failure for row in rows] == ["", "", ""]


def test_an_impossible_request_ends_the_evaluation_at_once() -> None:
    with pytest.raises(EvaluationError, match="no such variation"):
        run("impossible,ok")


def test_a_demo_that_the_simulator_refuses_is_never_a_failure_of_the_policy() -> None:
    with pytest.raises(EvaluationError, match="episode1: of another task"):
        run("ok,foreign,ok")
    rows = run("ok,foreign,ok", skip_bad=True)
    assert {number: row.success for number, row in rows.items()} == {0: 1, 2: 1}


def test_episodes_that_never_begin_have_no_steps_and_are_told_apart() -> None:
    rows = run("ok,unplaceable,wander,die,ok")
    ends = [(rows[i].variation, rows[i].steps, rows[i].failure, rows[i].is_lost) for i in range(5)]
    assert ends == [
        (0, 3, "", False),
        (-1, 0, "BoundaryError", True),
        (0, 5, "timeout", False),
        (1, 0, "SimulatorDied", True),
        (0, 3, "", False),
    ]


@pytest.mark.parametrize(("length", "end"), [(2, (0, 0.0, "timeout")), (3, (1, 100.0, ""))])
def test_success_at_the_last_step_counts_and_a_timeout_has_no_reward(
    length: int, end: tuple[int, float, str]
) -> None:
    (row,) = run("ok", episode_length=length).values()
    assert (row.success, row.reward, row.failure) == end and row.steps == length


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
