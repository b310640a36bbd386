"""Run as a program: imports modules with most third-party packages hidden, reports as JSON.

    python import_report.py sam2act sam2act.geometry ...

Every named package is imported with all modules below it (`sam2act` itself without). What torch,
numpy, scipy and einops require stays visible; everything else that is installed is hidden.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.metadata
import json
import os
import pkgutil
import random
import re
import sys
from collections.abc import Sequence
from typing import Any

CORE = ("torch", "numpy", "scipy", "einops")


def normalise(name: str) -> str:
    """A distribution name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: Sequence[str]) -> set[str]:
    """The distributions `names` and all that they require, extras left out."""
    found: set[str] = set()
    waiting = [normalise(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            if match and "extra ==" not in requirement:
                waiting.append(normalise(match[0]))
    return found


def hidden_modules() -> set[str]:
    """Top-level modules of every installed distribution that the core does not require."""
    visible = closure(CORE)
    return {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not visible & {normalise(owner) for owner in owners} and module != "sam2act"
    }


class Hide(importlib.abc.MetaPathFinder):
    """Makes `import` fail for the given top-level modules."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.tried: set[str] = set()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Raises for a hidden module, otherwise leaves the search to the other finders."""
        top = fullname.partition(".")[0]
        if top in self.names:
            self.tried.add(top)
            raise ModuleNotFoundError(f"No module named {fullname!r} (hidden)", name=fullname)


def process_state() -> dict[str, str]:
    """What an import must not change."""
    import numpy
    import torch

    return {
        "python random": str(hash(random.getstate())),
        "numpy random": str(numpy.random.get_state()[1].tolist()[:8]),  # type: ignore[index]
        "torch random": str(torch.get_rng_state().sum().item()),
        "threads": str(torch.get_num_threads()),
        "default dtype": str(torch.get_default_dtype()),
        "environment": str(sorted(os.environ.items())),
        "directory": os.getcwd(),
    }


def import_below(name: str) -> dict[str, str]:
    """Imports a package and its modules; module name -> error text."""
    errors: dict[str, str] = {}
    try:
        package = importlib.import_module(name)
    except Exception as error:  # reported to the test, which decides
        return {name: f"{type(error).__name__}: {error}"}
    if name == "sam2act":
        return {}
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        try:
            importlib.import_module(module.name)
        except Exception as error:  # reported to the test, which decides
            errors[module.name] = f"{type(error).__name__}: {error}"
    return errors


def main() -> None:
    """Prints the report."""
    hide = Hide(hidden_modules())
    sys.meta_path.insert(0, hide)
    before = process_state()
    errors: dict[str, str] = {}
    for name in sys.argv[1:]:
        errors |= import_below(name)
    after = process_state()
    import torch

    report = {
        "hidden": sorted(hide.names),
        "errors": errors,
        "changed": [key for key in before if before[key] != after[key]],
        "cuda": torch.cuda.is_initialized(),
        "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
        "imported": sorted(name for name in sys.modules if name.startswith("sam2act")),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
