"""Tasks by name: `put_block_back` is the class `PutBlockBack` in `put_block_back.py`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from sam2act.envs.embedded.kit.task import Task


def task_names() -> list[str]:
    """Every task of the embedded simulator, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def task_class(name: str) -> type[Task]:
    """The class of task `name`.

    Raises:
        ValueError: there is no such task.
    """
    names = task_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"task {name!r} is not in the embedded simulator, which has {', '.join(names)}{hint}"
        )
    module = importlib.import_module(f"{__name__}.{name}")
    return getattr(module, "".join(part.capitalize() for part in name.split("_")))
