"""What tasks state about their deviations: true facts, plain reasons, the page that has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2act.cli.fidelity import main
from sam2act.envs.embedded.fidelity.documents import read_documents
from sam2act.envs.embedded.fidelity.findings import DEVIATES
from sam2act.envs.embedded.fidelity.measure import measure
from sam2act.envs.embedded.fidelity.stated import (
    BEGIN,
    END,
    deviations_table,
    stated_deviations,
    with_table,
)
from sam2act.envs.embedded.tasks import task_names
from tests.in_process import run_main
from tests.places import REPOSITORY

PAGE = REPOSITORY / "docs" / "simulator.md"
DEVIATING = [task for task in task_names() if stated_deviations(task)]
SPREAD = ("base.yaw", "base.position", "spawned")  # shown by many resets only


@pytest.mark.parametrize("task", DEVIATING)
def test_what_is_stated_to_deviate_is_a_fact_and_deviates(task: str) -> None:
    findings = measure(task, read_documents(), 1)
    known = {item.fact for item in findings.all_findings()}
    deviating = {item.fact for item in findings.of_state(DEVIATES)}
    stated = set(stated_deviations(task))
    assert stated <= known
    assert stated - deviating <= set(SPREAD)


@pytest.mark.parametrize("task", DEVIATING)
def test_a_reason_is_a_sentence(task: str) -> None:
    for reason in stated_deviations(task).values():
        assert reason[0].isupper() and reason.endswith(".") and "\n" not in reason, reason


def test_the_page_has_the_present_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "sam2act fidelity --deviations docs/simulator.md writes it"
    assert all(f"| `{task}` |" in deviations_table() for task in DEVIATING)


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    assert run_main(main, "--deviations", page).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert deviations_table() in text and "old" not in text


def test_a_page_without_place_for_the_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks\n", encoding="utf-8")
    done = run_main(main, "--deviations", page)
    assert done.returncode == 2 and f"{page}: no lines {BEGIN}" in done.stderr
    assert page.read_text(encoding="utf-8") == "no marks\n"
