"""The command that prints what a policy without memory could read after the first part."""

from __future__ import annotations

import importlib

import pytest

from tests.places import SCRIPTS

MOMENTS = {
    "rearrange_block": ("over the button", "pressed"),
    "push_same_button": ("over the mat",),
}


@pytest.mark.parametrize("task", MOMENTS)
def test_table_with_and_without_the_strict_mode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS / "benchmarks"))
    script = importlib.import_module("measure_memory_residue")
    flags = ["--tasks", task, "--seeds", "1", "--image_size", "32"]
    assert script.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:3] for row in rows] == [
        [f"`{task}`", strict, when] for strict in ("on", "off") for when in MOMENTS[task]
    ]
    for _, strict, _, joints, millimetres, pixels in rows:
        assert float(joints) < 1e-5 and float(pixels) < 0.5
        leaves_traces = task == "rearrange_block" and strict == "off"
        assert (float(millimetres) < 0.05) != leaves_traces
