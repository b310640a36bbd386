"""Both branches of the torchvision cure, each in its own process with a stand-in package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import REPOSITORY

# Imports like a torchvision whose compiled part could not be loaded: a submodule first, then an
# operator that only exists if somebody defined its schema.
BROKEN = """
import torch
from torchvision import early
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
"""
# Imports like a working one: its compiled part defines the schemas itself and cannot bear others.
WORKING = """
import torch
from torch import library
assert not hasattr(torch.ops.torchvision, "nms"), "schemas were defined first"
schemas = library.Library("torchvision", "DEF")
schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
CALL = """
import sys
from sam2act.core.torchvision_cpu import ensure_torchvision_importable
result = ensure_torchvision_importable()
assert ensure_torchvision_importable() == result
print("imported" if "torchvision" in sys.modules else "not imported", result)
"""


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs `script` with `folder` in front of everything else on the import path."""
    prefix = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(REPOSITORY)!r}]\n"
    return subprocess.run(
        [sys.executable, "-c", prefix + script], capture_output=True, text=True, check=False
    )


def make_package(folder: Path, source: str) -> None:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    (package / "early.py").write_text("COUNT = 1\n")


@pytest.mark.parametrize("source", [BROKEN, WORKING], ids=["broken", "working"])
def test_torchvision_becomes_importable(tmp_path: Path, source: str) -> None:
    make_package(tmp_path, source)
    done = run(tmp_path, CALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["imported", "True"]


def test_stand_in_is_really_broken_without_the_cure(tmp_path: Path) -> None:
    make_package(tmp_path, BROKEN)
    done = run(tmp_path, "import torchvision")
    assert done.returncode != 0 and "torchvision::nms" in done.stderr


def test_schemas_outlive_the_call(tmp_path: Path) -> None:
    make_package(tmp_path, BROKEN)
    script = CALL + "import gc, torch; gc.collect(); print(torch.ops.torchvision.nms)"
    done = run(tmp_path, script)
    assert done.returncode == 0, done.stderr


def test_other_failures_are_not_hidden(tmp_path: Path) -> None:
    make_package(tmp_path, 'raise RuntimeError("disk on fire")')
    done = run(tmp_path, CALL)
    assert done.returncode != 0 and "disk on fire" in done.stderr


def test_absent_torchvision_is_reported(tmp_path: Path) -> None:
    hide = """
import sys
from importlib.machinery import PathFinder
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.startswith("torchvision") else PathFinder.find_spec(name, path, target)
sys.meta_path = [finder for finder in sys.meta_path if finder is not PathFinder] + [Finder]
"""
    done = run(tmp_path, hide + CALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["not", "imported", "False"]
