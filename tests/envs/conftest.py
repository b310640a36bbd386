"""The stand-ins for PyRep, RLBench and YARR, visible to the tests that ask for them only."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import make_env
from sam2act.envs.rlbench import headless
from sam2act.envs.rlbench.env import RLBenchEnv
from sam2act.envs.rlbench.options import Options
from tests.places import REPOSITORY

STAND_INS = REPOSITORY / "tests" / "stand_ins"
PACKAGES = ("pyrep", "rlbench", "yarr")


def forget(*packages: str) -> dict[str, Any]:
    """Take `packages` out of the imported modules; gives back what was there."""
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-ins at the head of the import path, freshly imported in every test."""
    before = forget(*PACKAGES)
    monkeypatch.syspath_prepend(str(STAND_INS))
    yield STAND_INS
    forget(*PACKAGES)
    sys.modules.update(before)


@pytest.fixture
def coppeliasim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like CoppeliaSim, in an environment set up for it, with a display."""
    folder = tmp_path / "CoppeliaSim"
    folder.mkdir()
    for name in ("libcoppeliaSim.so", headless.LIBRARY):
        (folder / name).touch()
    monkeypatch.setenv("COPPELIASIM_ROOT", str(folder))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/elsewhere:{folder}")
    monkeypatch.setenv("DISPLAY", ":77")
    monkeypatch.setenv(headless.PLUGIN_VARIABLE, str(folder))
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setattr(headless, "display_answers", lambda display: display == ":77")
    return folder


@pytest.fixture
def world(stand_ins: Path, coppeliasim: Path) -> Any:
    """The simulator of the stand-ins."""
    return importlib.import_module("pyrep.world").WORLD


# ---------------------------------------------------------------------- the RLBench backend
ACTION = np.array([0.3, 0.1, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
ENTRIES = ("x", "y", "z", "qx", "qy", "qz", "qw", "open", "ignore")


def make(**options: Any) -> RLBenchEnv:
    """An environment on the stand-ins."""
    names = {field.name for field in dataclasses.fields(Options)} & set(options)
    chosen = Options(**{name: options.pop(name) for name in names})
    env = make_env(EnvConfig("open_drawer", backend="rlbench", options=chosen, **options))
    assert isinstance(env, RLBenchEnv)
    return env


def action_with(**values: float) -> np.ndarray:
    """`ACTION` with other entries."""
    action = ACTION.copy()
    for name, value in values.items():
        action[ENTRIES.index(name)] = value
    return action


def simulator_error(name: str, text: str = "told by the simulator") -> Exception:
    """An error of the stand-ins, by module and class."""
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(module), kind)(text)


@pytest.fixture
def rlbench_env(world: Any) -> Iterator[RLBenchEnv]:
    """An environment before its first episode."""
    env = make()
    yield env
    env.close()


@pytest.fixture
def running(rlbench_env: RLBenchEnv) -> RLBenchEnv:
    """An environment in an episode."""
    rlbench_env.reset(0, 0)
    return rlbench_env
