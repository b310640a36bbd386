"""Who may import whom, read from the import statements of every module."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.golden_files import plain_id
from tests.places import PACKAGE

# What components read of the configuration: the base class of their keys, the experiment's keys.
KEYS = ("config.component", "config.experiment")
BELOW_POLICIES = ("nn", "rendering", "language", "processing", "core", "geometry", *KEYS)
# Room -> what it may use besides itself. A nested name is a room of its own.
LAYERS: dict[str, tuple[str, ...]] = {
    "geometry": (),
    "core": ("geometry",),
    "config": ("core",),
    "runtime": ("core",),
    "rendering": ("geometry", "core", "config.component"),
    "language": ("core", *KEYS),
    "processing": ("core", "geometry"),
    "nn": ("rendering", "core", "config.component"),
    "policies": (*BELOW_POLICIES, "config"),
    "policies.multiview": (*BELOW_POLICIES, "policies.base"),
    "policies.sam2act": (
        *(*BELOW_POLICIES, "policies.base", "policies.multiview", "policies.diffusion_chunks"),
    ),
    "policies.rvt": (*BELOW_POLICIES, "policies.base", "policies.multiview"),
    "policies.rvt2": (*BELOW_POLICIES, "policies.base", "policies.multiview"),
    "policies.sam_e": (*BELOW_POLICIES, "policies.base", "policies.multiview"),
    "policies.state_diffusion": (*BELOW_POLICIES, "policies.base", "policies.diffusion_chunks"),
    "policies.uva": (
        *(*BELOW_POLICIES, "policies.base", "policies.diffusion_chunks"),
        *("policies.session", "policies.checkpoint"),  # what its published call is made of
    ),
    "policies.drq_v2": (*BELOW_POLICIES, "policies.base", "policies.online"),
    "data": ("core", "geometry", "processing"),
    "training": (
        *("core", "config", "runtime", "geometry", "language", "processing", "data"),
        *("policies.base", "policies.checkpoint", "policies.online"),
    ),
    "envs": ("core", "data.rlbench", "runtime"),
    # Of the data only the stored state of demos: evaluation reads no images.
    # Of the policies only how any of them acts.
    "evaluation": (
        *("core", "config", "geometry", "language", "runtime", "envs"),
        *("policies.base", "policies.session", "policies.executors", "policies.checkpoint"),
        *("data.rlbench.types", "data.rlbench.demos", "data.rlbench.demo_folders"),
    ),
    # Of the data only whether demos are there.
    "experiments": ("core", "config", "runtime", "evaluation", "data.rlbench.demo_folders"),
    # Of the policies how any of them acts; of the environments what policies get of their frames.
    "serving": (
        *("core", "runtime", "policies.session", "policies.executors", "policies.observations"),
        "envs.policy_inputs",
    ),
    "reports": (
        *("core", "config", "geometry", "rendering", "evaluation", "policies", "experiments"),
    ),
}
# Only commands and the published entry points may use everything; nobody uses them. `policy` holds
# old names.
EVERYTHING = ("cli", "__main__", "train", "train_plus", "eval", "doctor", "policy")
# Single modules that need more, each with its reason.
EXCEPTIONS: dict[str, tuple[str, ...]] = {}

# The last one is there for type checkers only.
STANDARD = {*sys.stdlib_module_names, "_typeshed"}
ANYWHERE = ("torch", "numpy", "scipy", "einops")
# Third-party package -> modules or packages that may import it.
THIRD_PARTY: dict[str, tuple[str, ...]] = {
    "yacs": ("config.load",),
    "yaml": ("config.load", "config.files", "policies.checkpoint_configs", "reports.reproduction"),
    "PIL": (
        *("data", "envs", "evaluation", "reports", "cli"),
        *("policies.cogact", "processing.sam_g", "serving.pictures"),
    ),
    "vla_eval": ("envs.vla_eval",),
    "aiohttp": ("serving",),
    "msgpack": ("serving.codec",),
    "safetensors": (*("data", "language", "core.weight_files", "nn.peft_exchange"),),
    "tqdm": ("data", "training", "evaluation", "envs.recording", "cli"),
    "torchvision": ("processing.color_jitter", "core.torchvision_cpu", "cli.diagnosis"),
    "hydra": ("nn.sam2_sizes",),
    "omegaconf": ("nn.sam2_sizes",),
    "peft": ("nn.lora",),
    "diffusers": ("policies.uva",),
    "gym_pusht": ("envs.pusht",),
    "xformers": ("nn.attention",),
    "transformers": ("policies.cogact.prismatic",),
    "tokenizers": ("policies.cogact.prismatic", "language.minilm"),
    "huggingface_hub": ("policies.cogact.released_files",),
    "open_clip": ("language.text_encoder",),
    "pytorch3d": ("rendering.splat_pytorch3d",),
    "triton": ("rendering.triton_kernels", "rendering.splat_triton"),
    "wandb": ("training.run_log",),
    "h5py": ("data",),
    "zarr": ("data.zarr",),
    "imagecodecs": ("data.zarr",),
    "lz4": ("data.zarr",),
    "sam2": ("processing.sam_g.predictors",),
    "efficientsam": ("processing.sam_g.predictors",),
    "cv2": ("processing.sam_g.grabcut",),
    "tensorflow_datasets": ("data.rlds",),
    "mujoco": ("envs.embedded",),
    "gymnasium": ("envs.gymnasium", "envs.adroit"),
    "dm_control": ("envs.dmc",),
    "gymnasium_robotics": ("envs.adroit",),
    "av": ("envs.video", "data.lerobot"),
    "pyarrow": ("data.lerobot",),
    "pyrep": ("envs",),
    "rlbench": ("envs",),
    "yarr": ("envs",),
}
# Installed with the core, or only reachable through a package that says what it needs.
MAY_BE_AT_MODULE_TOP = {*ANYWHERE, "yacs", "yaml", "PIL", "safetensors", "tqdm", "mujoco"}
MAY_BE_AT_MODULE_TOP |= {"gymnasium", "aiohttp", "msgpack", "vla_eval"}

# Optional imports at the top all the same; the module must be importable without them.
GUARDED = {("rendering.triton_kernels", "triton")}  # kernels are made when they are defined


@dataclass(frozen=True)
class Import:
    """One import: its dotted target, its line and whether it runs when the module is imported."""

    target: str
    line: int
    at_top: bool


def imports_of(source: str, modules: frozenset[str]) -> Iterator[Import]:
    """Every import of `source`, `importlib.import_module("...")` included."""
    tree = ast.parse(source)
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        for target in _targets(node, modules):
            yield Import(target, node.lineno, id(node) not in inside)  # type: ignore[attr-defined]


def _targets(node: ast.AST, modules: frozenset[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        full = [f"{base}.{alias.name}" for alias in node.names]
        return [name if name in modules else base for name in full]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in ("import_module", "__import__"):
            return [str(node.args[0].value)]
    return []


def covers(permission: str, module: str) -> bool:
    """Whether `permission` names `module` itself or a package around it."""
    if permission == "":
        return "." not in module
    return module == permission or module.startswith(permission + ".")


def violations(module: str, source: str, modules: frozenset[str]) -> list[str]:
    """What `module` (dotted, without the leading `sam2act.`) imports against the rules."""
    return [
        f"sam2act.{module}:{found.line}: {complaint}"
        for found in imports_of(source, modules)
        if (complaint := _complaint(module, found))
    ]


def _complaint(module: str, found: Import) -> str:
    top, _, rest = found.target.partition(".")
    if found.target.startswith("."):
        return "relative import; write it in full"
    if top == "sam2act":
        return "" if _layer_allows(module, rest) else f"{found.target} lies in a forbidden layer"
    if top in STANDARD or top in ANYWHERE:
        return ""
    if top not in THIRD_PARTY:
        return f"{top} is no package of the table of third-party packages"
    if not any(covers(permission, module) for permission in THIRD_PARTY[top]):
        return f"{top} may be imported only in {', '.join(THIRD_PARTY[top])}"
    if found.at_top and top not in MAY_BE_AT_MODULE_TOP and (module, top) not in GUARDED:
        return f"{top} is optional and must be imported inside a function"
    return ""


def _layer_allows(module: str, target: str) -> bool:
    if any(covers(name, module) for name in EVERYTHING):
        return True
    if any(covers(name, target) for name in EVERYTHING):
        return False
    room = max((name for name in LAYERS if covers(name, module)), key=len, default="")
    allowed = (*LAYERS.get(room, ()), *EXCEPTIONS.get(module, ()), room)
    return target == "" or any(covers(name, target) for name in allowed if name)


def known_modules(package: Path) -> dict[str, Path]:
    """Dotted name, without the leading package name, of every module below `package`."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


MODULES = known_modules(PACKAGE)
FULL_NAMES = frozenset(f"sam2act.{name}".rstrip(".") for name in MODULES)


@pytest.mark.parametrize("module", sorted(MODULES), ids=plain_id)
def test_module_keeps_to_its_layer(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    assert violations(module, source, FULL_NAMES) == []


def test_every_room_has_a_rule() -> None:
    rooms = {name.partition(".")[0] for name in MODULES if name}
    assert rooms <= {*LAYERS, *EVERYTHING}


def test_exceptions_and_rules_name_real_modules_or_planned_packages() -> None:
    unused = {
        module: needs
        for module, needs in EXCEPTIONS.items()
        if module in MODULES
        and not any(
            covers(need, found.target.removeprefix("sam2act."))
            for need in needs
            for found in imports_of(MODULES[module].read_text(encoding="utf-8"), FULL_NAMES)
        )
    }
    assert unused == {}, "an exception that nobody needs any more"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_shadows_another_package(path: Path) -> None:
    """Entry points may be started as files, which puts sam2act/ at the head of the path."""
    taken = {*sys.stdlib_module_names, *ANYWHERE, *THIRD_PARTY}
    assert path.stem not in taken - {"__init__"}


FORBIDDEN: Mapping[str, tuple[str, str]] = {
    "upwards": ("geometry.a", "from sam2act.nn.heads import Head"),
    "package as name": ("rendering.a", "from sam2act import nn"),
    "module as name": ("data.a", "from sam2act.policies import session"),
    "inside a function": ("nn.a", "def f():\n    import sam2act.policies.session"),
    "dynamic": ("nn.a", "importlib.import_module('sam2act.training.trainer')"),
    "types": ("core.types", "from sam2act.policies.multiview.targets import x"),
    "language is free": ("language.a", "from sam2act.geometry import cameras"),
    "config reader": ("nn.a", "from sam2act.config.load import load_network"),
    "keys of the experiment": ("data.a", "from sam2act.config.experiment import EvalConfig"),
    "keys of a policy": ("policies.multiview.a", "import sam2act.policies.sam2act.config"),
    "config reader of a policy": ("policies.b.a", "from sam2act.nn import heads\nimport yaml"),
    "policies among themselves": ("policies.multiview.a", "import sam2act.policies.sam2act.policy"),
    "envs to networks": ("envs.a", "from sam2act.nn.heads import Head"),
    "envs to data": ("envs.embedded.a", "from sam2act.data.store.store import Store"),
    "evaluation to data": ("evaluation.a", "import sam2act.data.store.store"),
    "evaluation to a policy": ("evaluation.a", "import sam2act.policies.sam2act.policy"),
    "evaluation to training": ("evaluation.a", "from sam2act.training.trainer import Trainer"),
    "training to a policy": ("training.a", "from sam2act.policies.sam2act import stages"),
    "entry point": ("training.a", "from sam2act.train import main"),
    "command": ("reports.a", "from sam2act.cli.report import main"),
    "roof": ("newcomer", "from sam2act.policies import session"),
    "relative": ("nn.a", "from . import heads"),
    "yacs": ("config.experiment", "import yacs.config"),
    "simulator": ("evaluation.a", "def f():\n    from rlbench import Environment"),
    "wandb": ("training.trainer", "def f():\n    import wandb"),
    "wandb at top": ("training.run_log", "import wandb"),
    "dynamic optional at top": (
        "training.run_log",
        "import importlib\nimportlib.import_module('wandb')",
    ),
    "unknown package": ("data.a", "import pandas"),
    "class body": ("rendering.splat_triton", "class A:\n    import triton"),
}
PERMITTED: Mapping[str, tuple[str, str]] = {
    "downwards": ("policies.sam2act.a", "from sam2act.nn import heads"),
    "types from data": ("data.a", "from sam2act.core import types"),
    "keys of a section": ("language.a", "from sam2act.config.experiment import LanguageConfig"),
    "keys of a component": ("nn.a", "from sam2act.config.component import ComponentConfig"),
    "core for nearly all": ("nn.a", "def f():\n    from sam2act.core import torchvision_cpu"),
    "version": ("nn.a", "from sam2act import __version__"),
    "entry points": ("train", "from sam2act.evaluation import runner"),
    "commands": ("cli.a", "from sam2act.evaluation import runner\nimport tqdm"),
    "lazy": ("training.run_log", "def f():\n    importlib.import_module('wandb')"),
    "everywhere": (
        "geometry.a",
        "import math, torch\nfrom scipy.spatial.transform import Rotation",
    ),
    "dataset types": ("envs.a", "from sam2act.data.rlbench.types import Demo"),
}
FAKE_NAMES = frozenset(
    f"sam2act.{name}"
    for name in ("nn", "nn.heads", "policies.session", "core.types", "geometry.cameras")
)


@pytest.mark.parametrize("case", FORBIDDEN)
def test_rule_catches(case: str) -> None:
    module, source = FORBIDDEN[case]
    assert len(violations(module, source, FAKE_NAMES)) == 1


@pytest.mark.parametrize("case", PERMITTED)
def test_rule_permits(case: str) -> None:
    module, source = PERMITTED[case]
    assert violations(module, source, FAKE_NAMES) == []


def test_weight_files_are_opened_in_one_place() -> None:
    opener = re.compile(r"\btorch\.(jit\.)?load\(|pickle\.load\(|safetensors\.torch import")
    found = {m for m, path in MODULES.items() if opener.search(path.read_text(encoding="utf-8"))}
    models = {
        m
        for m in found
        if m.startswith(("core", "nn", "policies", "training", "language", "evaluation"))
    }
    writers = {
        "nn.peft_exchange",
        "language.cache",
    }  # adapters are saved; tokens are no weights
    assert models - writers == {"core.weight_files"}
