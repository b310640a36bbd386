"""Sets of tasks have one meaning in training, evaluation and generation."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.config.load import load_experiment
from sam2act.config.tasks import task_names
from sam2act.core.tasks import (
    MEMORYBENCH_TASKS,
    REAL_ROBOT_TASKS,
    RLBENCH_TASKS,
    colosseum_task,
    expand_tasks,
)
from sam2act.data.rlbench.demo_folders import episodes_below
from sam2act.evaluation.options import EvaluationOptions

EVERY = (*RLBENCH_TASKS, *MEMORYBENCH_TASKS)


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        (["all"], RLBENCH_TASKS),
        (["memorybench"], MEMORYBENCH_TASKS),
        (["real_robot"], REAL_ROBOT_TASKS),
        (["all", "memorybench"], EVERY),
        (["all,memorybench"], EVERY),
        ("all, memorybench", EVERY),
        (["memorybench", "close_jar"], (*MEMORYBENCH_TASKS, "close_jar")),
        ([" a ,, b"], ("a", "b")),
        ([], ()),
    ],
)
def test_names_of_sets_expand(names: list[str] | str, tasks: tuple[str, ...]) -> None:
    assert expand_tasks(names) == tasks


@pytest.mark.parametrize(
    "names", [("all",), ("memorybench",), ("all", "memorybench"), ("real_robot",)]
)
def test_training_evaluation_and_generation_agree(names: tuple[str, ...]) -> None:
    trained = task_names(load_experiment("", f"tasks {','.join(names)}"))
    evaluated = EvaluationOptions(Path("runs/x"), tasks=names).task_list()
    assert trained == tuple(evaluated) == expand_tasks(names)
    pytest.importorskip("mujoco")
    from sam2act.envs.registry import choose_tasks

    assert tuple(choose_tasks(list(names))) == trained


def test_there_are_eighteen_and_three() -> None:
    assert (len(RLBENCH_TASKS), len(MEMORYBENCH_TASKS), len(set(EVERY))) == (18, 3, 21)
    assert len(REAL_ROBOT_TASKS) == 4 and not set(REAL_ROBOT_TASKS) & set(EVERY)


def test_only_tasks_of_the_colosseum_have_an_index() -> None:
    """The task of somebody else may end in a number: its demos lie where those of all tasks do."""
    assert colosseum_task("open_drawer_2") == ("open_drawer", 2)
    assert colosseum_task("close_box_17") == ("close_box", 17)
    for name in ("open_drawer", "my_task_2", "open_drawer_18", "reopen_drawer_2"):
        assert colosseum_task(name) is None
    assert episodes_below("my_task_2") == episodes_below("my_task") != episodes_below("hockey_2")
