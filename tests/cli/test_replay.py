"""The command that replays demonstrations frame by frame."""

from __future__ import annotations

import pytest

from sam2act.cli.replay import main


def test_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tasks", "open_drawer", "--episodes", "1", "--control", "ee_delta"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["task", "ee_delta"] and row.split() == ["open_drawer", "1/1"]


def test_command_names_an_unknown_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tasks", "open_draw"]) == 2
    assert "open_drawer" in capsys.readouterr().err
