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

PACKAGE = Path(__file__).resolve().parents[1] / "sam2act"

# Part of the package -> what it may use besides itself. Modules directly inside sam2act/ (entry
# points and what only they need) may use everything and are used by nobody.
LAYERS: dict[str, tuple[str, ...]] = {
    "geometry": (),
    "rendering": ("geometry",),
    "models": ("geometry", "rendering"),
    "policy": ("geometry", "rendering", "models"),
    "policy.contracts": ("geometry",),
    "policy.rules": ("policy.contracts",),
    "data": ("geometry", "policy.contracts", "policy.rules", "language.instructions"),
    "training": ("geometry", "rendering", "models", "policy", "data"),
    "language": (),
    "config": (),
    "compat": (),
    "files": (),
    "wording": (),
    "envs": ("geometry", "policy.contracts", "data.rlbench_types"),
    # Of the data only the stored state of demos: evaluation reads no images.
    "evaluation": (
        *("geometry", "policy", "envs"),
        *("data.rlbench_types", "data.demos", "data.demo_folders"),
    ),
    "visualization": ("geometry", "rendering", "policy"),
}
# `assets` is the table of public files, `config.weights` the rule by which they are found.
FOR_ALL = (
    *("compat", "files", "wording"),
    *("config.schema", "config.network", "config.weights", "assets"),
)
# Single modules that need more, each with its reason.
EXCEPTIONS: dict[str, tuple[str, ...]] = {
    "policy.checkpoint": ("config.load",),  # a checkpoint carries its own configuration
    # Weights of every kind are opened and checked in one place.
    "language.text_encoder": ("models.weight_files", "models.weight_names"),
    "training.setup": ("config", "language"),  # joins the parts of a run for the entry points
    "training.run_data": ("config", "language"),  # instructions become tokens
    "training.resume": ("config",),  # compares the configurations of two runs
    "training.run": ("config.load",),  # the command line of both stages
    "envs.embedded.demo": ("data.keyframes",),  # which frames of a demo need images
    "envs.rlbench_env": ("data.keyframes",),  # the same
}

ANYWHERE = ("torch", "numpy", "scipy", "einops")
# Third-party package -> modules or packages that may import it; "" = directly inside sam2act/.
THIRD_PARTY: dict[str, tuple[str, ...]] = {
    "yacs": ("config.load",),
    "yaml": ("config.load", "config.files", "policy.checkpoint"),
    "PIL": ("data", "envs", "evaluation", "visualization", ""),
    "safetensors": (
        "data",
        "language",
        "models.weight_files",
        "models.peft_exchange",
        "policy.checkpoint",
    ),
    "tqdm": ("data", "training", "evaluation", ""),
    "torchvision": ("geometry.augmentation", "compat", "diagnosis"),
    "hydra": ("models.sam2_sizes",),
    "omegaconf": ("models.sam2_sizes",),
    "peft": ("models.lora",),
    "xformers": ("models.attention",),
    "open_clip": ("language.text_encoder",),
    "pytorch3d": ("rendering.splat_pytorch3d",),
    "triton": ("rendering.triton_kernels", "rendering.splat_triton"),
    "wandb": ("training.run_log",),
    "h5py": ("data",),
    "mujoco": ("envs.embedded",),
    "av": ("envs.video",),
    "pyrep": ("envs",),
    "rlbench": ("envs",),
    "yarr": ("envs",),
}
# Installed with the core, or only reachable through a package that says what it needs.
MAY_BE_AT_MODULE_TOP = {*ANYWHERE, "yacs", "yaml", "PIL", "safetensors", "tqdm", "mujoco"}

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
    if top in sys.stdlib_module_names or top in ANYWHERE:
        return ""
    if top not in THIRD_PARTY:
        return f"{top} is no package of the table of third-party packages"
    if not any(covers(permission, module) for permission in THIRD_PARTY[top]):
        return f"{top} may be imported only in {', '.join(THIRD_PARTY[top])}"
    if found.at_top and top not in MAY_BE_AT_MODULE_TOP and (module, top) not in GUARDED:
        return f"{top} is optional and must be imported inside a function"
    return ""


def _layer_allows(module: str, target: str) -> bool:
    if "." not in module and module not in LAYERS:
        return True
    layer = max((name for name in LAYERS if covers(name, module)), key=len)
    allowed = (*LAYERS[layer], *FOR_ALL, *EXCEPTIONS.get(module, ()))
    own_package = layer if layer == "policy.contracts" else module.partition(".")[0]
    return target == "" or any(covers(name, target) for name in (*allowed, own_package))


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


def test_every_part_has_a_rule() -> None:
    parts = {name.partition(".")[0] for name, path in MODULES.items() if "." in name}
    assert parts <= set(LAYERS)


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
    "upwards": ("geometry.a", "from sam2act.models.heads import Head"),
    "package as name": ("rendering.a", "from sam2act import models"),
    "module as name": ("data.a", "from sam2act.policy import policy"),
    "inside a function": ("models.a", "def f():\n    import sam2act.policy.policy"),
    "dynamic": ("models.a", "importlib.import_module('sam2act.training.loop')"),
    "contracts": ("policy.contracts", "from sam2act.policy.targets import x"),
    "language is free": ("language.a", "from sam2act.geometry import cameras"),
    "config reader": ("models.a", "from sam2act.config.load import load_network"),
    "envs to models": ("envs.a", "from sam2act.models.heads import Head"),
    "envs to data": ("envs.embedded.a", "from sam2act.data.store import Store"),
    "evaluation to data": ("evaluation.a", "import sam2act.data.store"),
    "entry point": ("training.a", "from sam2act.train import main"),
    "relative": ("models.a", "from . import heads"),
    "yacs": ("config.schema", "import yacs.config"),
    "simulator": ("evaluation.a", "def f():\n    from rlbench import Environment"),
    "wandb": ("training.loop", "def f():\n    import wandb"),
    "wandb at top": ("training.run_log", "import wandb"),
    "dynamic optional at top": (
        "training.run_log",
        "import importlib\nimportlib.import_module('wandb')",
    ),
    "unknown package": ("data.a", "import pandas"),
    "class body": ("rendering.splat_triton", "class A:\n    import triton"),
}
PERMITTED: Mapping[str, tuple[str, str]] = {
    "downwards": ("policy.a", "from sam2act.models import heads"),
    "contracts from data": ("data.a", "from sam2act.policy import contracts"),
    "schema for all": ("language.a", "from sam2act.config.schema import ConfigError"),
    "compat for all": ("models.a", "def f():\n    from sam2act.compat import torchvision_cpu"),
    "version": ("models.a", "from sam2act import __version__"),
    "entry points": ("train", "from sam2act.evaluation import runner\nimport tqdm"),
    "lazy": ("training.run_log", "def f():\n    importlib.import_module('wandb')"),
    "core": ("geometry.a", "import math, torch\nfrom scipy.spatial.transform import Rotation"),
    "dataset types": ("envs.a", "from sam2act.data.rlbench_types import Demo"),
}
FAKE_NAMES = frozenset(
    f"sam2act.{name}"
    for name in ("models", "models.heads", "policy.policy", "policy.contracts", "geometry.cameras")
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
        m for m in found if m.startswith(("models", "policy", "training", "language", "eval"))
    }
    writers = {
        "models.peft_exchange",
        "language.cache",
    }  # adapters are saved; tokens are no weights
    assert models - writers == {"models.weight_files"}
