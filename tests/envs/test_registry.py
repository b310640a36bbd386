"""Environments by name, and what is said when one cannot be made."""

from __future__ import annotations

import pytest

from sam2act.core.specs import square_cameras
from sam2act.core.tasks import MEMORYBENCH_TASKS, REAL_ROBOT_TASKS, RLBENCH_TASKS
from sam2act.envs.base import CAMERAS, EnvConfig
from sam2act.envs.registry import (
    MissingSimulatorError,
    check_task,
    check_tasks,
    choose_tasks,
    env_spec,
    get_backend,
    make_env,
)
from sam2act.envs.rlbench import versions

EMBEDDED = get_backend("embedded")


def test_every_task_of_memorybench_is_there() -> None:
    assert set(MEMORYBENCH_TASKS) <= set(EMBEDDED.tasks())


def test_sets_of_tasks_expand_without_repetition() -> None:
    assert choose_tasks(["put_block_back", "memorybench"]) == [
        "put_block_back",
        "reopen_drawer",
        "rearrange_block",
    ]
    assert choose_tasks(["all"]) == list(RLBENCH_TASKS)
    everything = choose_tasks(["all", "memorybench", "real_robot"])
    assert sorted(everything) == sorted(EMBEDDED.tasks())


@pytest.mark.parametrize("installed", [["open_drawer"], None])
@pytest.mark.parametrize("name", [*REAL_ROBOT_TASKS, "real_robot"])
def test_twins_of_real_robot_tasks_are_refused_by_rlbench(
    monkeypatch: pytest.MonkeyPatch, name: str, installed: list[str] | None
) -> None:
    """Whether RLBench is installed or not."""
    monkeypatch.setattr(get_backend("rlbench"), "tasks", lambda: installed)
    with pytest.raises(ValueError, match="twin of a real-robot task, .* choose --backend embedded"):
        check_tasks("rlbench", [name])


def test_unknown_task_names_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="did you mean put_block_back"):
        make_env(EnvConfig("put_blok_back"))


def test_missing_simulator_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EMBEDDED, "find_spec", lambda name: None)
    with pytest.raises(MissingSimulatorError, match=r"pip install -e \"\.\[sim\]\""):
        make_env(EnvConfig("put_block_back"))


def test_rlbench_is_not_replaced_by_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    with pytest.raises(MissingSimulatorError, match="rlbench"):
        make_env(EnvConfig("put_block_back", backend="rlbench"))


def test_task_is_checked_for_its_backend() -> None:
    check_task("embedded", "put_block_back")
    for name in ("put_blok_back", "all"):  # sets of tasks are no tasks
        with pytest.raises(ValueError, match=name):
            check_task("embedded", name)
    with pytest.raises(ValueError, match="backend: 'gazebo'"):
        check_task("gazebo", "put_block_back")


def test_specs_say_what_is_there_without_a_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = env_spec(EnvConfig("put_block_back", cameras=("wrist", "overhead"), image_size=64))
    assert spec.camera_specs == square_cameras(("wrist", "overhead"), 64, depth=True)
    assert [action.mode for action in spec.actions] == ["keyframe_pose", "ee_pose", "ee_delta"]
    assert spec.success_threshold == 1.0 and spec.episode_length is None
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    theirs = env_spec(EnvConfig("open_drawer", "rlbench", cameras=("ceiling",)))
    assert theirs.cameras == CAMERAS, "those that there are"
    assert [action.mode for action in theirs.actions] == ["keyframe_pose"]


def test_backends_say_why_they_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EMBEDDED.problem() == ""
    monkeypatch.setattr(EMBEDDED, "find_spec", lambda name: None)
    assert "pip install" in EMBEDDED.problem()
    monkeypatch.setattr(versions, "find_spec", lambda name: None)
    assert "package rlbench, which is not installed" in get_backend("rlbench").problem()
