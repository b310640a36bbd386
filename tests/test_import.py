"""Importing costs nothing: four packages suffice and no import has side effects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.places import REPOSITORY

LIGHT_PACKAGES = tuple(
    f"sam2act.{room}" for room in ("core", "geometry", "rendering", "nn", "policies.multiview")
)
HEAVY = ("mujoco", "hydra", "omegaconf", "wandb", "tensorboard", "open_clip", "torchvision")
HEAVY += ("peft", "transformers", "xformers", "pyrep", "rlbench", "yarr", "av", "pytorch3d")


def report(folder: Path, *packages: str) -> dict[str, Any]:
    """The report of a fresh interpreter that finds sam2act in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests" / "import_report.py"), *packages],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return report(REPOSITORY, "sam2act")


@pytest.fixture(scope="module")
def light() -> dict[str, Any]:
    return report(REPOSITORY, *LIGHT_PACKAGES)


def test_other_packages_are_really_hidden(plain: dict[str, Any]) -> None:
    assert "pytest" in plain["hidden"] and "pluggy" in plain["hidden"]
    assert not {"torch", "numpy", "scipy", "einops", "sam2act"} & set(plain["hidden"])


def test_package_imports_with_four_packages(plain: dict[str, Any]) -> None:
    assert plain["errors"] == {}


def test_package_import_loads_nothing_else(plain: dict[str, Any]) -> None:
    assert plain["imported"] == ["sam2act"]


def test_lower_rooms_import_with_four_packages(light: dict[str, Any]) -> None:
    assert light["errors"] == {}
    assert set(LIGHT_PACKAGES) <= set(light["imported"])


@pytest.mark.parametrize("which", ["plain", "light"])
def test_imports_have_no_side_effects(which: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(which)
    assert result["changed"] == []
    assert result["cuda"] is False
    assert not set(HEAVY) & set(result["loaded"])


WITHOUT_TORCH = """
import sys
from pathlib import Path
import sam2act.envs.recording.demo_generation, sam2act.evaluation.worker
from sam2act.data.rlbench.demo_writer import write_episode
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import make_env
env = make_env(EnvConfig("put_block_back", cameras=POLICY_CAMERAS, image_size=16))
demo = env.get_demo(0, 0, "keyframes")
write_episode(Path("episode0"), demo, env.instructions, POLICY_CAMERAS)
assert "torch" not in sys.modules
print(len(demo))
"""


def test_simulators_run_and_record_without_torch(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 4 and (tmp_path / "episode0" / "front_depth" / "0.png").exists()


def test_report_notices_an_unwanted_import_and_side_effects(tmp_path: Path) -> None:
    package = tmp_path / "sam2act" / "nn"
    package.mkdir(parents=True)
    (tmp_path / "sam2act" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "bad.py").write_text("import pytest\n")
    (package / "loud.py").write_text(
        "import os, torch\ntorch.manual_seed(1)\nos.environ['SEEN'] = '1'\n"
    )
    result = report(tmp_path, "sam2act.nn")
    assert list(result["errors"]) == ["sam2act.nn.bad"]
    assert "hidden" in result["errors"]["sam2act.nn.bad"]
    assert result["changed"] == ["torch random", "environment"]
