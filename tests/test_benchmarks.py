"""Every benchmark script runs and reports measurements beside baselines in one form."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_process import run_main
from tests.places import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "scripts" / "benchmarks").glob("benchmark_*.py"))
# Networks at the full image size.
SLOW = {"benchmark_policy", "benchmark_training", "benchmark_scaling", "benchmark_presets"}
ROW_KEYS = {"name", "value", "unit", "baseline", "baseline_name", "higher_is_better", "ratio"}
MACHINE_KEYS = {"date", "processor", "cores", "threads", "gpu", "python", "torch", "commit"}


def parameter(script: Path):
    marks = [pytest.mark.slow] if script.stem in SLOW else []
    return pytest.param(script, id=script.stem, marks=marks)


def run(script: Path, folder: Path, *flags: str) -> str:
    """What the script prints; it must run in any folder, and from a checkout alone, too."""
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(script), *flags],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_benchmarks() -> None:
    stems = {script.stem for script in SCRIPTS}
    assert stems >= SLOW | {"benchmark_renderer", "benchmark_loader"}


@pytest.mark.parametrize("script", [pytest.param(s, id=s.stem) for s in SCRIPTS])
def test_help_names_the_common_flags(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(script.parent))  # as if it were started
    done = run_main(runpy.run_path(str(script))["main"], "--help")
    assert done.returncode == 0
    printed = done.stdout
    assert "--json" in printed and "--quick" in printed
    assert "aseline" in printed  # says what it compares with
    assert ("--data-folder" in printed) == (script.stem == "benchmark_loader")


@pytest.mark.parametrize("script", [parameter(script) for script in SCRIPTS])
def test_quick_run_writes_rows_with_baselines(script: Path, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    printed = run(script, tmp_path, "--quick", "--json", str(path))
    content = json.loads(path.read_text())
    assert set(content) == {"title", "machine", "rows"}
    assert content["machine"].keys() >= MACHINE_KEYS
    assert content["title"] in printed
    names = [row["name"] for row in content["rows"]]
    assert len(set(names)) == len(names)
    for row in content["rows"]:
        assert set(row) == ROW_KEYS and row["value"] > 0 and row["unit"]
        assert row["name"] in printed
        check_ratio(row)
    assert any(row["ratio"] for row in content["rows"])
    assert [file.name for file in tmp_path.iterdir()] == ["figures.json"]
    if script.stem == "benchmark_loader":
        check_loader({row["name"]: row for row in content["rows"]})


def check_loader(rows: dict[str, dict]) -> None:
    """What the data path must reach on any machine."""
    assert len(rows) == 11
    assert rows["store"]["value"] < 0.35
    assert rows["batch() alone"]["ratio"] > 1  # gathering beats decoding by far
    in_process = rows["loader, in process"]["value"]
    assert rows["loader, workers: 1"]["baseline"] == in_process
    assert rows["loader, workers: 2"]["baseline"] == rows["loader, workers: 1"]["value"]


def check_ratio(row: dict) -> None:
    """Above 1 means better than the baseline."""
    if row["baseline"] is None:
        assert row["ratio"] is None and not row["baseline_name"]
        return
    assert row["baseline_name"]
    better, worse = row["baseline"], row["value"]
    if row["higher_is_better"]:
        better, worse = worse, better
    assert row["ratio"] == pytest.approx(better / worse)
