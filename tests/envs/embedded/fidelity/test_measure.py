"""Findings about whole tasks, the page they make, and the command."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from sam2act.cli.fidelity import main
from sam2act.core.tasks import MEMORYBENCH_TASKS, RLBENCH_TASKS
from sam2act.envs.embedded.fidelity.documents import Document, read_documents
from sam2act.envs.embedded.fidelity.findings import DEVIATES, UNKNOWN, Finding, TaskFindings
from sam2act.envs.embedded.fidelity.measure import measure
from sam2act.envs.embedded.fidelity.page import severe_table, summary_row, task_section
from sam2act.envs.embedded.fidelity.rules import RULES
from tests.in_process import run_main
from tests.places import REPOSITORY

PAGE = REPOSITORY / "docs" / "fidelity.md"
FEW = 4  # resets: enough for everything but the spread of random places


def test_every_task_has_rules() -> None:
    assert set(RULES) == {*RLBENCH_TASKS, *MEMORYBENCH_TASKS}
    assert set(read_documents()) <= set(RULES)


@pytest.mark.parametrize("task", ["put_block_back", "open_drawer", "push_buttons"])
def test_the_page_says_what_is_measured(task: str) -> None:
    findings = measure(task, read_documents(), FEW)
    assert findings.faults() == []
    page = PAGE.read_text(encoding="utf-8")
    assert summary_row(findings) in page
    assert task_section(findings) in page
    told = severe_table({task: findings}).splitlines()
    rows = [line for line in told if line.startswith(f"| `{task}`")]
    assert all(row in page for row in rows)


def test_every_deviation_on_the_page_has_a_reason_and_few_do() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "**none**" not in page and "no reason given" not in page
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    shares = {row[1].strip(): row[6].strip() for row in rows if len(row) == 8}
    known = {task: float(share.rstrip("%")) for task, share in shares.items() if "%" in share}
    assert len(known) >= 15 and min(known.values()) >= 90.0, known


def test_rules_that_do_not_hold_are_noticed() -> None:
    content = copy.deepcopy(dict(read_documents()["open_drawer"].content))
    content["base_sampling"] |= {"accepted_yaw": [[0.3, 0.4]], "x_range": [0.0, 0.05]}
    waypoint = next(entry for entry in content["objects"] if entry["name"] == "waypoint2")
    waypoint["extension"] = {"gripper": "open"}
    waypoint["in_parent"][2] += 0.01
    findings = measure("open_drawer", {"open_drawer": Document("open_drawer", content)}, FEW)
    found = {item.fact for item in findings.of_state(DEVIATES)}
    assert found == {
        *("base.yaw", "base.position"),
        *("waypoint2.pose", "waypoint2.gripper", "waypoint2.ignore_collisions"),
    }


def test_a_waypoint_that_only_our_task_moves_is_noticed() -> None:
    findings = measure("reach_and_drag", read_documents(), 1)
    assert {item.fact for item in findings.of_state(DEVIATES)} == {
        f"waypoint{number}.pose" for number in (3, 4, 5)
    }
    assert "moved by 16 mm" in task_section(findings)


def test_the_box_of_the_model_is_compared() -> None:
    content = copy.deepcopy(dict(read_documents()["open_drawer"].content))
    content["base_sampling"]["model_box_in_base"][0][0] -= 0.01
    findings = measure("open_drawer", {"open_drawer": Document("open_drawer", content)}, 1)
    assert [item.fact for item in findings.of_state(DEVIATES)] == ["base.box"]


def test_a_deviation_needs_a_reason_and_a_reason_a_deviation() -> None:
    findings = TaskFindings(
        "task",
        (Finding("a.size", DEVIATES, "1 published, 2 here"), Finding("b.friction", UNKNOWN)),
        {"c.mass": "lighter", "success": "stricter"},
    )
    silent, idle = findings.faults()
    assert "a.size deviates without a reason (1 published, 2 here)" in silent
    assert "reason for c.mass" in idle
    drawn = TaskFindings("task", (Finding("spawned", "matched"),), {"spawned": "drawn again"})
    assert drawn.faults() == [] and drawn.state("spawned") == DEVIATES
    assert findings.share() == 0.0 and findings.state("success") == DEVIATES


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = run_main(main, "--tasks", "turn_tap", "--resets", 1, "--output", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "sam2act fidelity --tasks turn_tap --resets 1" in text
    assert "| `turn_tap` | the handle must turn by 1.57 rad | scene not known |" in text


def test_what_the_command_cannot_use_is_named(tmp_path: Path) -> None:
    done = run_main(main, "--tasks", "fly", "--resets", 1)
    assert done.returncode == 2 and "--tasks: 'fly' has no published scene" in done.stderr
    done = run_main(main, "--tasks", "turn_tap", "--scenes", tmp_path)
    assert done.returncode == 2 and "no scenes in it" in done.stderr
    (tmp_path / "broken.json").write_text("{")
    done = run_main(main, "--tasks", "turn_tap", "--scenes", tmp_path)
    assert done.returncode == 2 and "broken.json: not a JSON file" in done.stderr
