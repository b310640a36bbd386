"""Names the tasks of the embedded simulator for gymnasium: `sam2act/PutBlockBack-v0` and so on.

`register_tasks` also stands in the entry-point group `gymnasium.envs`, which gymnasium before 1.0
reads when it is imported; so nothing here imports a simulator or torch.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path

from sam2act.envs import embedded

NAMESPACE = "sam2act"
VERSION = 0
TASK_ENV = "sam2act.envs.gymnasium.env:TaskEnv"


def register_tasks() -> None:
    """Register an id for every task; ids that are there already stay."""
    from gymnasium.envs.registration import register, registry

    for task in embedded_tasks():
        if gym_id(task) not in registry:
            register(id=gym_id(task), entry_point=TASK_ENV, kwargs={"task": task})


def embedded_tasks() -> list[str]:
    """Names of the tasks of the embedded simulator, sorted; it is not imported."""
    folder = Path(embedded.__file__).parent / "tasks"
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)


def gym_id(task: str) -> str:
    """The id of a task: `put_block_back` is `sam2act/PutBlockBack-v0`."""
    return f"{NAMESPACE}/{camel_case(task)}-v{VERSION}"


def camel_case(task: str) -> str:
    """`PutBlockBack` of `put_block_back`."""
    return "".join(part.capitalize() for part in task.split("_"))
