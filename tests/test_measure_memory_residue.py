"""The command that prints what a policy without memory could read at the button."""

from __future__ import annotations

import importlib

import pytest

from tests.places import SCRIPTS


def test_table_with_and_without_the_strict_mode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS / "benchmarks"))
    script = importlib.import_module("measure_memory_residue")
    flags = ["--tasks", "rearrange_block", "--seeds", "1", "--image_size", "32"]
    assert script.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:3] for row in rows] == [
        ["`rearrange_block`", strict, when]
        for strict in ("on", "off")
        for when in ("over the button", "pressed")
    ]
    for _, strict, _, joints, millimetres, pixels in rows:
        assert float(joints) < 1e-5 and float(pixels) < 0.5
        assert (float(millimetres) < 0.05) == (strict == "on")
