"""Values per sample by keyframe: aggregation over batches, and the columns that runs write."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from sam2act.core.types import SampleIdentity
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.keyframe_means import (
    KEYFRAMES,
    KeyframeMeans,
    keyframe_columns,
    largest_means,
)
from tests.training import tiny_run

CPU = torch.device("cpu")
NAN = float("nan")
DEMO_KEYFRAMES = 3  # of the synthetic demos


def table_of(*names: str) -> KeyframeMeans:
    """Empty tables of these values."""
    return KeyframeMeans(names, CPU)


def add(table: KeyframeMeans, *samples: tuple[int, float]) -> None:
    """One batch of (keyframe, value)."""
    identities = [SampleIdentity("task", 0, 0, 1, keyframe) for keyframe, _ in samples]
    table.add({"value": torch.tensor([value for _, value in samples])}, identities)


def test_samples_of_several_batches_are_averaged_by_keyframe() -> None:
    table = table_of("value")
    add(table, (2, 1.0), (0, 0.5), (2, 2.0))
    add(table, (2, 6.0), (5, 0.25))
    table.add({}, [])  # a policy that does not tell
    means = table.read()
    assert means == {"value": {0: 0.5, 2: 3.0, 5: 0.25}} and list(means["value"]) == [0, 2, 5]
    assert table.read() == {}
    add(table, (2, 8.0))
    assert table.read() == {"value": {2: 8.0}}


def test_unknown_and_far_keyframes_and_samples_without_target_do_not_count() -> None:
    table = table_of("value")
    add(table, (-1, 9.0), (KEYFRAMES, 9.0), (KEYFRAMES + 5, 9.0), (1, NAN), (1, 2.0), (4, NAN))
    add(table, (KEYFRAMES - 1, 1.0))
    assert table.read() == {"value": {1: 2.0, KEYFRAMES - 1: 1.0}}


def test_identities_without_keyframe_are_unknown() -> None:
    table = table_of("value")
    table.add({"value": torch.ones(1)}, [SampleIdentity("task", 0, 0, 1)])
    assert table.read() == {}


def test_names_of_columns_and_the_largest_one() -> None:
    means = {"excess": {0: 0.125, 9: 0.931, 10: 0.5}}
    assert keyframe_columns(means, "validation_") == {
        "validation_excess_keyframe_0": 0.125,
        "validation_excess_keyframe_9": 0.931,
        "validation_excess_keyframe_10": 0.5,
    }
    assert largest_means(means) == "largest_excess 0.93 at keyframe 9"
    assert keyframe_columns({}) == {} and largest_means({}) == ""


def test_every_declared_value_is_averaged_by_its_name() -> None:
    table = table_of("first", "second", "third")
    values = {name: torch.tensor([number]) for name, number in (("first", 1.0), ("second", 2.0))}
    table.add({**values, "undeclared": torch.ones(1)}, [SampleIdentity("task", 0, 0, 1, 4)])
    means = table.read()
    assert means == {"first": {4: 1.0}, "second": {4: 2.0}}
    assert largest_means(means) == (
        "largest_first 1.00 at keyframe 4  largest_second 2.00 at keyframe 4"
    )


# --------------------------------------------------------------------------------- whole runs
@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Demos of two tasks."""
    folder = tmp_path_factory.mktemp("excess")
    tiny_run.write_demos(folder)
    tiny_run.write_demos(folder, task="close_jar")
    return folder


def columns(folder: Path, name: str) -> list[str]:
    """The excess columns of a run, in the order of the file."""
    with open(tiny_run.run_folder(folder, name) / "metrics.csv", newline="") as stream:
        names = csv.DictReader(stream).fieldnames or ()
    return [column for column in names if "excess" in column]


def test_run_of_one_task_has_a_column_per_keyframe(folder: Path, caplog) -> None:
    caplog.set_level("INFO", logger="sam2act")
    more = "exp_name one epochs 1 train_iter 24 log_every 6 validation.split train "
    assert tiny_run.run(folder, more + "validation.demo 1 validation.demo_start 2") == 0
    training = [f"excess_keyframe_{index}" for index in range(DEMO_KEYFRAMES)]
    assert columns(folder, "one") == [*training, *(f"validation_{name}" for name in training)]
    values = {
        name: float(row[name])
        for row in tiny_run.metrics(folder, "one")
        for name in columns(folder, "one")
        if row[name]
    }
    assert len(values) == 2 * DEMO_KEYFRAMES and min(values.values()) > 0
    printed = [record.getMessage() for record in caplog.records if "loss" in record.getMessage()]
    assert printed and not any("excess_keyframe" in line for line in printed)
    highest = max(training, key=lambda name: values[name])
    expected = f"largest_excess {values[highest]:.2f} at keyframe {highest.rpartition('_')[2]}"
    assert any(line.endswith(expected) for line in printed)


def test_run_of_several_tasks_has_none(folder: Path) -> None:
    assert tiny_run.run(folder, "exp_name two epochs 1 tasks open_drawer,close_jar") == 0
    assert len(tiny_run.metrics(folder, "two")) == 3 and columns(folder, "two") == []


def test_every_micro_batch_is_counted_once(folder: Path) -> None:
    trainer = tiny_run.build_trainer(
        folder, DistributedContext(0, 1, CPU), "peract.grad_accumulation 2"
    )
    assert trainer.updater.by_keyframe is not None
    added = []
    trainer.updater.by_keyframe.add = lambda values, identities: added.append(
        (values["excess"], identities)
    )
    batches = list(trainer.data.training(0, 4))
    for start in (0, 2):
        trainer.update(iter(batches[start : start + 2]))
    assert [identities for _, identities in added] == [batch.identities for batch in batches]
    assert all(excess.shape == (len(batches[0]),) for excess, _ in added)
