"""What forbids comparing methods is found: other settings, other scenes, missing episodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.evaluation.analysis.comparison import (
    differing_scenes,
    differing_settings,
    repeated_scenes,
    unfinished,
)
from sam2act.evaluation.analysis.methods import Method, Source, collect_methods
from tests.evaluation.evaluated_runs import (
    episode,
    episodes,
    write_description,
    write_evaluation,
    write_rows,
)


def methods_of(run: Path) -> list[Method]:
    return collect_methods([Source(run)])


def test_settings_that_forbid_comparison_are_found(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "1", settings={"seed": 1})
    write_evaluation(tmp_path, "model_plus_last", "1", settings={"seed": 2})
    assert differing_settings(methods_of(tmp_path)) == {}
    write_evaluation(tmp_path, "ground_truth", "1", settings={"episode_length": 30})
    assert differing_settings(methods_of(tmp_path)) == {"episode_length": [25, 30]}


def test_lengths_are_compared_where_steps_mean_the_same(tmp_path: Path) -> None:
    frames = {"control": "ee_delta", "episode_length": 300}
    write_evaluation(tmp_path, "model_last", "1", settings={"control": "keyframe_pose"})
    write_evaluation(tmp_path, "model_0", "1", settings=frames)
    other = frames | {"episode_length": 500, "tasks": ["open_drawer"]}
    write_evaluation(tmp_path, "model_1", "1", settings=other)
    assert differing_settings(methods_of(tmp_path)) == {}
    write_evaluation(tmp_path, "model_2", "1", settings=frames | {"episode_length": 200})
    assert differing_settings(methods_of(tmp_path)) == {"episode_length": [300, 200]}


@pytest.mark.parametrize("name", ["memory_strict", "clip_targets", "retry_without_collision"])
def test_switches_of_the_environment_forbid_comparison(tmp_path: Path, name: str) -> None:
    write_evaluation(tmp_path, "model_last", "1", settings={name: True})
    write_evaluation(tmp_path, "model_plus_last", "1", settings={name: False})
    assert differing_settings(methods_of(tmp_path)) == {name: [True, False]}


# ------------------------------------------------------------------------------ unfinished
def test_missing_episodes_are_counted_over_repetitions(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "0" * 5, "test/1")
    write_evaluation(tmp_path, "model_last", "00", "test/2", settings={"eval_episodes": 5})
    write_evaluation(tmp_path, "model_plus_last", "111", "test/1")
    assert unfinished(methods_of(tmp_path)) == {"SAM2Act": (7, 10)}


def test_a_task_that_has_more_rows_does_not_hide_one_that_has_too_few(tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "none" / "model_last"
    tasks = ["put_block_back", "rearrange_block", "reopen_drawer"]
    write_description(folder, settings={"tasks": tasks, "eval_episodes": 2})
    write_rows(folder, episodes("1111") + episodes("10", "rearrange_block"))
    assert unfinished(methods_of(tmp_path)) == {"SAM2Act": (4, 6)}


def test_without_description_nothing_is_known_to_be_missing(tmp_path: Path) -> None:
    write_rows(tmp_path / "eval" / "none" / "model_last", episodes("1"))
    assert unfinished(methods_of(tmp_path)) == {}


# --------------------------------------------------------------------------- equal scenes
def repeat(run: Path, *seeds: int | None, checkpoints: str = "a") -> None:
    """Evaluations of one network, one per seed."""
    for number, seed in enumerate(seeds):
        checkpoint = {"name": "model_last.pth", "sha256": checkpoints[number % len(checkpoints)]}
        settings = {"seed": seed}
        write_evaluation(
            *(run, "model_last", "1100", f"test/{number + 1}"),
            settings=settings,
            checkpoint=checkpoint,
        )


@pytest.mark.parametrize(
    ("seeds", "times"), [((3, 4, 5), None), ((3, 3, 4), 2), ((3, 3, 3), 3), ((None, None), None)]
)
def test_repetitions_on_the_same_scenes_are_found(tmp_path: Path, seeds, times) -> None:
    repeat(tmp_path, *seeds)
    assert repeated_scenes(methods_of(tmp_path)) == ({"SAM2Act": times} if times else {})


def test_a_repetition_that_met_some_of_the_scenes_is_found(tmp_path: Path) -> None:
    repeat(tmp_path, 3)
    write_evaluation(tmp_path, "model_last", "11", "test/2", settings={"seed": 3})
    methods = methods_of(tmp_path)
    assert repeated_scenes(methods) == {}, "the checkpoints differ"
    repeat(tmp_path / "b", 3)
    write_evaluation(
        tmp_path / "b",
        *("model_last", "11", "test/2"),
        settings={"seed": 3},
        checkpoint={"sha256": "a"},
    )
    assert repeated_scenes(methods_of(tmp_path / "b")) == {"SAM2Act": 2}


def test_several_networks_may_meet_the_same_scenes(tmp_path: Path) -> None:
    repeat(tmp_path / "x", 3, 3, checkpoints="ab")
    assert repeated_scenes(methods_of(tmp_path / "x")) == {}
    runs = [tmp_path / "y", tmp_path / "z"]
    for run in runs:
        repeat(run, 3)
    pooled = collect_methods([Source(run) for run in runs], pool=True)
    assert len(pooled) == 1 and repeated_scenes(pooled) == {}


# ----------------------------------------------------------------------------- other scenes
def test_methods_on_other_scenes_are_found(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "10", settings={"seed": 1})
    folder = write_evaluation(tmp_path, "model_plus_last", "11", settings={"seed": 1})
    assert differing_scenes(methods_of(tmp_path)) == {}
    write_rows(folder, episodes("1", "rearrange_block"), rank=1)
    assert differing_scenes(methods_of(tmp_path)) == {}, "not a common task"
    write_evaluation(tmp_path, "ground_truth", "11", settings={"seed": 2})
    found = differing_scenes(methods_of(tmp_path))
    assert found == {("SAM2Act", "ground truth"): ["put_block_back"]}


def test_pooled_scenes_are_compared_as_a_whole(tmp_path: Path) -> None:
    for number, seed in ((1, 7), (2, 8)):
        for stem in ("model_last", "model_plus_last"):
            write_evaluation(tmp_path, stem, "11", f"test/{number}", settings={"seed": seed})
    assert differing_scenes(methods_of(tmp_path)) == {}
    write_evaluation(tmp_path, "model_last", "11", "test/3", settings={"seed": 9})
    assert list(differing_scenes(methods_of(tmp_path))) == [("SAM2Act", "SAM2Act+")]


def test_an_episode_that_never_began_is_no_other_scene(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "model_last", "111")
    lost = episode("put_block_back", 2, 0, variation=-1, seed=None, failure="SimulatorDied")
    folder = write_evaluation(tmp_path, "model_plus_last", "11")
    write_rows(folder, [lost])
    assert differing_scenes(methods_of(tmp_path)) == {}
    write_rows(folder, [episode("put_block_back", 1, 0, seed=5)])
    assert differing_scenes(methods_of(tmp_path))
