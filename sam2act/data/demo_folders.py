"""Where demos lie below a data folder, and what to say where some or all are absent."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path

logger = logging.getLogger(__name__)
EPISODES_FOLDER = "all_variations/episodes"
_MOST_NAMES = 25


def episodes_folder(root: str | Path, split: str, task: str) -> Path:
    """The folder that holds the episodes of `task`."""
    return Path(root) / split / task / EPISODES_FOLDER


def tasks_below(folder: Path) -> list[str]:
    """Names of the tasks with demos in `folder`, sorted; empty where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if (path / EPISODES_FOLDER).is_dir())


def warn_of_absent(split: str, task: str, present: int, requested: int) -> None:
    """Logs how many of the requested demos of `task` there are, if not all."""
    if present < requested:
        logger.warning(
            "%s/%s: %d of %d requested demos are there (demo: %d)",
            *(split, task, present, requested, requested),
        )


def why_absent(root: str | Path, split: str, task: str = "<task>") -> str:
    """The message for demos of `task` that are not there: what is missing and what was found."""
    root = Path(root)
    wanted = f"{split}/{task}/{EPISODES_FOLDER}"
    remedy = f"set data_folder to the folder that holds {wanted}"
    if not root.is_dir():
        return f"{root}: no such folder; {remedy}"
    if not (root / split).is_dir():
        return f"{root / split}: no such folder; {_other_split(root, split, remedy)}"
    if not (root / split / task).is_dir():
        return f"{root / split / task}: no such folder; {_other_task(root / split, task, remedy)}"
    return (
        f"{root / wanted}: no such folder; {remedy} (demos recorded with one folder per variation "
        "must be generated with all variations in one)"
    )


def _other_split(root: Path, split: str, remedy: str) -> str:
    if tasks_below(root):
        if root.resolve().name == split:
            parent = root.resolve().parent
            return f"{root} is the folder of split {split} itself: set data_folder to {parent}"
        return f"{root} holds tasks, not splits; {remedy}"
    splits = sorted(path.name for path in root.iterdir() if tasks_below(path))
    if not splits:
        return remedy
    return (
        f"{root} holds the splits {', '.join(splits)}: name one of them (validation.split or "
        f"--split), or {remedy}"
    )


def _other_task(folder: Path, task: str, remedy: str) -> str:
    tasks = tasks_below(folder)
    if not tasks:
        return f"{folder} holds no tasks; {remedy}"
    nearest = difflib.get_close_matches(task, tasks, n=1)
    question = f"did you mean {nearest[0]}? " if nearest else ""
    names = ", ".join(tasks[:_MOST_NAMES]) + (", ..." if len(tasks) > _MOST_NAMES else "")
    return f"{question}{folder} holds the tasks {names}: change the task, or {remedy}"
