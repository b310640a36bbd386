"""The comparison of compiled scenes with facts notices every kind of difference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.embedded.episode import EpisodeRunner
from sam2act.envs.embedded.fidelity.compiled import compare_compiled
from sam2act.envs.embedded.fidelity.documents import Document, read_documents
from sam2act.envs.embedded.fidelity.findings import DEVIATES, MATCHED
from tests.golden_files import scenes_dir

TASK = "put_block_back"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def runner() -> EpisodeRunner:
    return EpisodeRunner(EnvConfig(TASK, cameras=()))


def deviating(runner: EpisodeRunner, document: Document) -> list[str]:
    findings = list(compare_compiled(runner, document))
    assert len(findings) > 40
    return [item.fact for item in findings if item.state == DEVIATES]


def test_the_shipped_scene_is_built_as_stated(runner: EpisodeRunner) -> None:
    assert deviating(runner, read_documents()[TASK]) == []


def test_facts_of_another_folder_are_read_the_same_way(runner: EpisodeRunner) -> None:
    document = read_documents(scenes_dir())[TASK]
    assert deviating(runner, document) == []
    states = {item.fact: item.state for item in compare_compiled(runner, document)}
    assert states["block.size"] == states["success0.volume"] == MATCHED


def _shift(entry: dict[str, Any]) -> None:
    entry["in_parent"][0] += 0.003


def _turn(entry: dict[str, Any]) -> None:
    entry["in_parent"][3:] = [0, 0, 0.0131, 0.9999]  # 1.5 degrees


def _enlarge(entry: dict[str, Any]) -> None:
    entry["size"] = [side + 0.005 for side in entry["size"]]


CHANGES: list[tuple[str, str, Change]] = [
    ("block", "block.pose", _shift),
    ("success0", "success0.pose", _turn),
    ("block", "block.size", _enlarge),
    ("block", "block.mass", lambda entry: entry.update(mass=0.4)),
    ("block", "block.color", lambda entry: entry.update(rgb=[1, 0, 0])),
    ("block", "block.seen", lambda entry: entry.update(flags=[])),
    ("target1", "target1.solid", lambda entry: entry.update(respondable=True)),
    ("success0", "success0.volume", lambda entry: entry["volume"].update(z_to=0.1)),
    ("success0", "success0.volume",
     lambda entry: entry["volume"].update(kind="cylinder", radius=0.06)),
    ("target_button_joint1", "target_button_joint1.limits",
     lambda entry: entry["joint"].update(limits=[0, 0.01])),
    ("target_button_joint1", "target_button_joint1.spring",
     lambda entry: entry["joint"].update(spring_k=100.0)),
    ("target_button_joint1", "target_button_joint1.position",
     lambda entry: entry["joint"].update(position=-0.001)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fact", "change"), CHANGES)
def test_a_changed_fact_deviates(
    runner: EpisodeRunner, name: str, fact: str, change: Change
) -> None:
    content = copy.deepcopy(dict(read_documents()[TASK].content))
    change(next(entry for entry in content["objects"] if entry["name"] == name))
    assert fact in deviating(runner, Document(TASK, content))
