"""The command that replays demonstrations frame by frame."""

from __future__ import annotations

from typing import Any

import pytest

from sam2act.cli.replay import main
from sam2act.data.rlbench.types import Demo
from sam2act.envs.base import ScriptError
from sam2act.envs.embedded.sim import EmbeddedEnv


def test_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--tasks", "open_drawer", "--episodes", "1", "--seed", "2", "--control", "ee_delta"])
        == 0
    )
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["task", "ee_delta"] and row.split() == ["open_drawer", "1/1"]


def test_a_script_that_fails_is_counted_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = EmbeddedEnv.get_demo
    calls: list[int] = []

    def first_fails(self: EmbeddedEnv, *arguments: Any, **options: Any) -> Demo:
        calls.append(1)
        if len(calls) == 1:
            raise ScriptError("the script ran through, but the task is not solved")
        return record(self, *arguments, **options)

    monkeypatch.setattr(EmbeddedEnv, "get_demo", first_fails)
    assert main(["--tasks", "open_drawer", "--episodes", "2", "--control", "ee_pose"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split() == ["open_drawer", "1/2"]
    assert "ee_pose, episode 0: the script ran through, but" in printed.err


def test_command_names_an_unknown_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tasks", "open_draw"]) == 2
    assert "open_drawer" in capsys.readouterr().err
