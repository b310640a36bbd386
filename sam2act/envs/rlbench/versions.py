"""Whether the packages of the simulator stack are there, and whether they are the ones meant.

Standard library only: the installation report needs this where nothing else is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sam2act.core.errors import MissingSimulatorError

INSTALL_RLBENCH = "bash scripts/install_rlbench.sh (docs/rlbench.md)"
# A part of the right package. On the package index, unrelated projects bear the same names.
RIGHT_PARTS = {"pyrep": "backend", "rlbench": "tasks", "yarr": "agents"}


def has_part(locations: Sequence[str] | None, name: str) -> bool:
    """Whether one of the folders of a package holds the module or package `name`."""
    return any(
        (Path(folder) / name).is_dir() or (Path(folder) / f"{name}.py").is_file()
        for folder in locations or ()
    )


def require_packages(names: Sequence[str], purpose: str) -> None:
    """Make sure that `names`, keys of `RIGHT_PARTS`, can be found; nothing is imported.

    Raises:
        MissingSimulatorError: one is not installed, or is an unrelated project of the same name.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None:
            raise MissingSimulatorError(
                f"{purpose} needs the package {name}, which is not installed: {INSTALL_RLBENCH}"
            )
        if not has_part(spec.submodule_search_locations, RIGHT_PARTS[name]):
            raise MissingSimulatorError(
                f"{purpose} needs {name}, but {spec.origin} is another project of this name (it "
                f"has no {name}.{RIGHT_PARTS[name]}): pip uninstall {name}, then {INSTALL_RLBENCH}"
            )


def task_files(package: str = "rlbench") -> list[str]:
    """Names of the tasks of the installed RLBench, sorted; nothing is imported."""
    spec = find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = {path.stem for folder in folders for path in Path(folder, "tasks").glob("*.py")}
    return sorted(found - {"__init__"})
