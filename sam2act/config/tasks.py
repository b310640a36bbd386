"""The tasks of a run, the folders that belong to them, and the name of a run."""

from __future__ import annotations

import os
from pathlib import Path

from sam2act.config.experiment import ExperimentConfig
from sam2act.core.errors import ConfigError
from sam2act.core.mixtures import read_mixture
from sam2act.core.tasks import MEMORYBENCH_TASKS, expand_tasks
from sam2act.core.weights import checkout

PACKAGE = Path(__file__).resolve().parents[1]
NO_REPLAY = "none"  # value of replay_folder: never look for released replays
LONGEST_NAME = 200  # bytes of a folder's name; file systems allow 255


def task_names(experiment: ExperimentConfig) -> tuple[str, ...]:
    """The tasks that the key `tasks` means: a comma-separated list, in which
    `all` stands for the 18 of RLBench and `memorybench` for its three. With `data_mix`, the data
    sets of that mixture.

    Raises:
        ConfigError: the list is empty or names a task twice.
    """
    if experiment.data_mix:
        return tuple(read_mixture(experiment.data_mix))
    names = expand_tasks(experiment.tasks)
    if not names:
        raise ConfigError("tasks is empty; name tasks separated by commas, or all")
    if len(set(names)) < len(names):
        raise ConfigError(f"tasks: {experiment.tasks} names a task twice")
    return names


def run_name(experiment: ExperimentConfig) -> str:
    """`<exp_id>_<exp_name>`, the name of the run's folder.

    Raises:
        ConfigError: one of the two cannot be part of the name of a folder.
    """
    for key in ("exp_id", "exp_name"):
        value = getattr(experiment, key)
        if value in ("", ".", "..") or not value.isprintable() or "/" in value or "\\" in value:
            raise ConfigError(
                f"{key}: {value!r} cannot name a folder; give a word without slashes, such as "
                f"{key} my_run (--log-dir says in which folder runs lie)"
            )
    name = f"{experiment.exp_id}_{experiment.exp_name}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ConfigError(f"exp_id and exp_name are longer than {LONGEST_NAME} bytes together")
    return name


# ------------------------------------------------------------------------------------- folders
def data_folder(experiment: ExperimentConfig) -> str:
    """Where demos lie: `data_folder`, else `data_memory` for MemoryBench tasks and `data`.

    Without the key the folder is looked for where the released code has it (`_released_places`);
    the first that holds one of the tasks counts, and the plain name if none does.
    """
    if experiment.data_folder:
        return experiment.data_folder
    name, tasks = f"data{_suffix(experiment)}", task_names(experiment)
    for folder in _released_places(name):
        if any(next(folder.glob(f"*/{task}"), None) for task in tasks):
            return str(folder)
    return name


def store_folder(experiment: ExperimentConfig) -> str:
    """Where frame stores are built: `store_folder`, else `store_memory` or `store`."""
    return experiment.store_folder or f"store{_suffix(experiment)}"


def replay_folder(experiment: ExperimentConfig) -> str:
    """The folder that holds one released replay per task; empty: train on demos.

    The key names that folder or the one around its sub-folder `replay_train`; `none` means demos.
    Without the key, and unless `data_folder` is set, `replay_temporal` (`replay_temporal_memory`
    for MemoryBench tasks) is looked for where the released code has it, and the first that holds
    one of the tasks counts.
    """
    tasks, given = task_names(experiment), experiment.replay_folder
    if given.lower() == NO_REPLAY:
        return ""
    if given:
        return str(_replays_below(Path(given), tasks) or given)
    if experiment.data_folder:
        return ""
    for folder in _released_places(f"replay_temporal{_suffix(experiment)}"):
        found = _replays_below(folder, tasks)
        if found:
            return str(found)
    return ""


def lies_in_package(folder: str) -> bool:
    """Whether `folder` is inside the folder of the source files."""
    return Path(folder).resolve().is_relative_to(PACKAGE)


def _replays_below(folder: Path, tasks: tuple[str, ...]) -> Path | None:
    """`folder` or its `replay_train`, whichever holds a task."""
    candidates = (folder, folder / "replay_train")
    return next((c for c in candidates if any((c / task).is_dir() for task in tasks)), None)


def _released_places(name: str) -> tuple[Path, ...]:
    """Where a folder of the released code may lie: here, in the checkout, in the package."""
    root = checkout()
    return (Path(name), *([root / name] if root else []), PACKAGE / name)


def _suffix(experiment: ExperimentConfig) -> str:
    return "_memory" if set(task_names(experiment)) <= set(MEMORYBENCH_TASKS) else ""
