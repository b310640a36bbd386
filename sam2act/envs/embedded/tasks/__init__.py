"""Tasks by name: `put_block_back` is the class `PutBlockBack` in `put_block_back.py`.

`TASK@VARIANT` is a variant of a task with something changed on purpose, one of the classes in the
mapping `VARIANTS` of the task's module. `TASK_<index>` is a task as The Colosseum perturbs it.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping

from sam2act.core.tasks import COLOSSEUM_TASKS, colosseum_task
from sam2act.envs.embedded.kit.task import Task


def task_names() -> list[str]:
    """Every task of the embedded simulator, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def task_class(name: str) -> type[Task]:
    """The class of task `name`.

    Raises:
        ValueError: there is no such task.
    """
    indexed = colosseum_task(name)
    if indexed is not None and indexed[0] in COLOSSEUM_TASKS:
        name = indexed[0]
    names = [*task_names(), *variant_names()]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"task {name!r} is not in the embedded simulator, which has {', '.join(names)}{hint}"
        )
    name, _, variant = name.partition("@")
    if variant:
        return variants_of(name)[variant]
    module = importlib.import_module(f"{__name__}.{name}")
    return getattr(module, "".join(part.capitalize() for part in name.split("_")))


def variant_names() -> list[str]:
    """Every `TASK@VARIANT`, sorted."""
    return [f"{name}@{variant}" for name in task_names() for variant in sorted(variants_of(name))]


def variants_of(name: str) -> Mapping[str, type[Task]]:
    """The variants of task `name`, by the part of their name after the @."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), "VARIANTS", {})
