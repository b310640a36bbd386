"""Missing and unrelated packages of the simulator stack; nothing is imported to find them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import MissingSimulatorError, check_task, make_env
from sam2act.envs.rlbench import versions
from sam2act.envs.rlbench.versions import require_packages, task_files

CONFIG = EnvConfig("open_drawer", backend="rlbench")


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: Path) -> Path:
    """A folder in front of the stand-ins, for packages that fail when they are imported."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def make_package(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("raise SystemExit('imported')")


@pytest.mark.parametrize("missing", ["rlbench", "pyrep"])
@pytest.mark.parametrize("use", [lambda: make_env(CONFIG), lambda: check_task("rlbench", "x")])
def test_missing_package_names_the_script(
    world: Any, monkeypatch: pytest.MonkeyPatch, missing: str, use: Any
) -> None:
    find = versions.find_spec
    monkeypatch.setattr(versions, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(
        MissingSimulatorError, match=rf"{missing}, which is not.*bash scripts/install_rlbench\.sh"
    ):
        use()


@pytest.mark.parametrize("name", ["pyrep", "yarr", "rlbench"])
def test_unrelated_package_is_told_apart(foreign: Path, name: str) -> None:
    require_packages((name,), "this test")  # the stand-in
    make_package(foreign, name)
    with pytest.raises(MissingSimulatorError, match=f"another project.*pip uninstall {name}"):
        require_packages((name,), "this test")


def test_unrelated_pyrep_is_refused_before_it_is_imported(foreign: Path, coppeliasim: Path) -> None:
    make_package(foreign, "pyrep")
    with pytest.raises(MissingSimulatorError, match=r"no pyrep\.backend"):
        make_env(CONFIG)
    assert "pyrep" not in sys.modules


def test_tasks_are_listed_without_an_import(stand_ins: Path) -> None:
    assert task_files() == ["open_drawer"]
    assert "rlbench" not in sys.modules
    assert task_files("certainly_not_installed") == []
