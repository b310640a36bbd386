"""What is installed, whether it is the right thing, and how to get what is missing.

Pure checks behind `python -m sam2act.doctor`; printing lives there.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

INSTALL_RLBENCH = "from its own repository (github.com/stepjam), see its README"
UNUSED = "not used in this version"
OLDEST_PYTHON = (3, 10)


@dataclass(frozen=True)
class Package:
    """A package that the project uses, or that people expect around it (`UNUSED`).

    `minimum` is the oldest version that works; `marker` is a submodule of the right package, where
    an unrelated one bears the same name.
    """

    module: str
    distribution: str
    enables: str
    remedy: str
    core: bool = False
    minimum: str = ""
    marker: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of the report; `state` is ok, missing, wrong or broken."""

    name: str
    state: str
    detail: str
    enables: str = ""
    remedy: str = ""
    core: bool = False


def _core(module: str, distribution: str, minimum: str, enables: str) -> Package:
    return Package(module, distribution, enables, "pip install -e .", core=True, minimum=minimum)


def _extra(module: str, distribution: str, extra: str, enables: str) -> Package:
    return Package(module, distribution, enables, f'pip install -e ".[{extra}]"')


PACKAGES = (
    _core("torch", "torch", "2.4", "everything"),
    _core("numpy", "numpy", "1.25", "everything"),
    _core("scipy", "scipy", "1.11", "tests of the rotations"),
    _core("einops", "einops", "0.7", "everything"),
    _core("yaml", "pyyaml", "6", "configuration files"),
    _core("yacs", "yacs", "0.1.8", "configuration files"),
    _core("PIL", "pillow", "10", "camera images of demos"),
    _core("tqdm", "tqdm", "4.66", "progress bars"),
    _core("safetensors", "safetensors", "0.4", "frame store, embedding cache"),
    _extra("open_clip", "open_clip_torch", "clip", "encoding new instructions"),
    _extra("torchvision", "torchvision", "clip", "colour jitter, CLIP"),
    _extra("wandb", "wandb", "train", "logging to wandb"),
    _extra("tensorboard", "tensorboard", "train", "logging to tensorboard"),
    _extra("peft", "peft", "peft", "exchange of LoRA adapters"),
    Package("h5py", "h5py", UNUSED, ""),
    _extra("mujoco", "mujoco-core", "sim", "the embedded simulator"),
    _extra("av", "av", "sim", "films as mp4"),
    Package("triton", "triton", UNUSED, ""),
    _extra("xformers", "xformers", "xformers", "attention_backend: xformers"),
    _extra("hydra", "hydra-core", "hydra", "original SAM2 yaml files"),
    Package("pytorch3d", "pytorch3d", UNUSED, ""),
    Package("pyrep", "PyRep", UNUSED, INSTALL_RLBENCH, marker="backend"),
    Package("rlbench", "rlbench", UNUSED, INSTALL_RLBENCH),
    Package("yarr", "yarr", UNUSED, INSTALL_RLBENCH, marker="agents"),
)


def examine(package: Package) -> Finding:
    """Whether `package` is installed and the one that is meant; imports only torchvision."""
    spec = find_spec(package.module)
    state, detail = "ok", _version(package.distribution)
    if spec is None:
        state, detail = "missing", ""
    elif package.marker and not _has_submodule(spec.submodule_search_locations, package.marker):
        state = "wrong"
        detail = f"another project of this name (no {package.module}.{package.marker})"
    elif package.module == "torchvision":
        state, detail = _torchvision_state(detail)
    elif package.minimum and _is_older(detail, package.minimum):
        state, detail = "wrong", f"{detail}, older than {package.minimum}"
    remedy = "" if state == "ok" else package.remedy
    if state == "wrong" and package.marker:
        remedy = f"pip uninstall {package.module}; {package.remedy}"
    return Finding(package.module, state, detail, package.enables, remedy, package.core)


def examine_system(environment: Mapping[str, str]) -> list[Finding]:
    """Python, device, compiler, size of the machine and the place of CoppeliaSim."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        _python(),
        _cuda(),
        _compiler(environment),
        Finding("CPU cores", "ok", str(len(os.sched_getaffinity(0)))),
        Finding("memory", "ok", f"{memory:.1f} GiB"),
        examine_coppeliasim(environment),
    ]


def examine_coppeliasim(environment: Mapping[str, str]) -> Finding:
    """Whether COPPELIASIM_ROOT names a CoppeliaSim folder."""
    root = environment.get("COPPELIASIM_ROOT", "")
    remedy = "unset it, or export COPPELIASIM_ROOT=<its folder>"
    if not root:
        return Finding("CoppeliaSim", "missing", "COPPELIASIM_ROOT is not set", UNUSED)
    if not any(Path(root).glob("libcoppeliaSim.so*")):
        detail = f"no libcoppeliaSim.so in {root}"
        return Finding("CoppeliaSim", "wrong", detail, UNUSED, remedy)
    return Finding("CoppeliaSim", "ok", root, UNUSED)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        remedy = "install Python 3.10 or newer"
        return Finding("Python", "wrong", version, "everything", remedy, core=True)
    return Finding("Python", "ok", version, "everything", core=True)


def _is_older(version: str, minimum: str) -> bool:
    """Whether the leading numbers of `version` are below `minimum`; unknown ones are not."""
    match = re.match(r"\d+(\.\d+)*", version)
    if match is None:
        return False
    return [int(n) for n in match[0].split(".")] < [int(n) for n in minimum.split(".")]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def _has_submodule(locations: Sequence[str] | None, name: str) -> bool:
    return any(
        (Path(folder) / name).is_dir() or (Path(folder) / f"{name}.py").is_file()
        for folder in locations or ()
    )


def _torchvision_state(version: str) -> tuple[str, str]:
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        if "torchvision::nms" in str(error):
            return "ok", f"{version} (for CUDA torch; repaired at import)"
        return "broken", f"{version}: {error}".splitlines()[0]
    return "ok", version


def _cuda() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return Finding("CUDA", "missing", f"torch cannot be imported: {error}", "GPU training")
    build = f"torch build {torch.version.cuda or 'without CUDA'}"
    if not torch.cuda.is_available():
        return Finding("CUDA", "missing", f"no device; {build}", "GPU training")
    return Finding("CUDA", "ok", f"{torch.cuda.get_device_name(0)}; {build}", "GPU training")


def _compiler(environment: Mapping[str, str]) -> Finding:
    for name in (environment.get("CC", ""), "cc", "gcc", "clang"):
        found = shutil.which(name.split()[0]) if name.split() else None
        if found:
            return Finding("C compiler", "ok", found, UNUSED)
    return Finding("C compiler", "missing", "", UNUSED)
