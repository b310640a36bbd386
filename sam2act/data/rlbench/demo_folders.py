"""Where demos lie below a data folder, and what to say where some or all are absent.

One rule for every command: `<split>/<task>/all_variations/episodes/episode<N>`. A task is a folder
that holds `all_variations/episodes`. The Colosseum has `<task>_<index>/variation0/episodes`, or
`<task>_<index>/episodes` where every variation occurs; such folders are tasks, too. An episode is a
folder called episode<N>; episode_<N>, episode-<N> and leading zeros mean the same number. What
systems and editors put between them (.DS_Store, .ipynb_checkpoints, __MACOSX, @eaDir, ...) is
hidden, and files are no folders: both are left alone, as is a folder of any other name.
"""

from __future__ import annotations

import difflib
import logging
import re
import shlex
from pathlib import Path

from sam2act.core.tasks import EVERY_VARIATION, colosseum_task
from sam2act.core.wording import listing
from sam2act.data.rlbench.types import DemoError

logger = logging.getLogger(__name__)
EPISODES_FOLDER = "all_variations/episodes"
VARIATION_0 = "variation0/episodes"
EVERY_EPISODE = "episodes"
EPISODE_NAME = "episode<N>"
LOW_DIM_FILE = "low_dim_obs.pkl"
DESCRIPTIONS_FILE = "variation_descriptions.pkl"
VARIATION_FILE = "variation_number.pkl"
_VARIATION = re.compile(r"variation([0-9]+)")
_EPISODE = re.compile(r"episode[_-]?0*([0-9]{1,9})")
_HIDDEN = (".", "__", "@", "$")
_MOST_NAMES = 25


def episodes_folder(root: str | Path, split: str, task: str) -> Path:
    """The folder that holds the episodes of `task`."""
    return Path(root) / split / task / episodes_below(task)


def episodes_below(task: str) -> str:
    """Where in the folder of `task` its episodes lie."""
    indexed = colosseum_task(task)
    if indexed is None:
        return EPISODES_FOLDER
    return EVERY_EPISODE if indexed[1] in EVERY_VARIATION else VARIATION_0


def variation_above(episode: Path) -> int | None:
    """The variation that the folder around `episode` names; None where it names none."""
    match = _VARIATION.fullmatch(episode.parent.parent.name)
    return int(match.group(1)) if match else None


def has_episodes(folder: Path) -> bool:
    """Whether `folder` is that of a task with demos."""
    return (folder / episodes_below(folder.name)).is_dir()


def is_hidden(path: Path) -> bool:
    """Whether a system or an editor keeps its own things there."""
    return path.name.startswith(_HIDDEN)


def lies_hidden(path: Path, root: Path) -> bool:
    """Whether `path`, or a folder around it below `root`, is hidden."""
    return any(is_hidden(Path(part)) for part in path.relative_to(root).parts)


def visible_folders(folder: Path) -> list[Path]:
    """The folders directly in `folder` that are not hidden, sorted; none where it is absent."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_hidden(path) and path.is_dir())


def tasks_below(folder: Path) -> list[str]:
    """Names of the tasks with demos in `folder`, sorted; empty where there is no such folder."""
    return [path.name for path in visible_folders(folder) if has_episodes(path)]


def episode_number(folder: Path) -> int | None:
    """The number of an episode folder; None if its name is none of an episode."""
    match = _EPISODE.fullmatch(folder.name)
    return int(match.group(1)) if match else None


def episodes_in(folder: Path) -> dict[int, Path]:
    """Number -> folder of the episodes in `folder`, by increasing number.

    Raises:
        DemoError: two folders have the same number.
    """
    found: dict[int, Path] = {}
    for path in visible_folders(folder):
        number = episode_number(path)
        if number is None:
            continue
        if number in found:
            raise DemoError(
                f"{folder}: {found[number].name} and {path.name} are both episode {number}; rename "
                "one of them to a free number, or move it away"
            )
        found[number] = path
    return dict(sorted(found.items()))


def episode_folders(root: str | Path, split: str, task: str) -> dict[int, Path]:
    """Number -> folder of the episodes of `task`, by increasing number.

    Raises:
        DemoError: the folder of the task is absent, holds no episode, or two of the same number.
    """
    folder = episodes_folder(root, split, task)
    if not folder.is_dir():
        raise DemoError(why_absent(root, split, task))
    found = episodes_in(folder)
    if not found:
        others = [path.name for path in visible_folders(folder)]
        remedy = "record or copy demos there"
        if others:
            remedy = f"rename those there, e.g. {rename_command(folder / others[0])}"
        raise DemoError(f"{folder}: holds no {EPISODE_NAME}; {remedy}")
    return found


def rename_command(folder: Path) -> str:
    """The command that makes `folder` episode 0."""
    return f"`mv {shlex.quote(str(folder))} {shlex.quote(str(folder.with_name('episode0')))}`"


def warn_of_strays(root: str | Path, split: str, task: str) -> None:
    """Logs which folders between the episodes of `task` are left alone."""
    folder = episodes_folder(root, split, task)
    strays = [path.name for path in visible_folders(folder) if episode_number(path) is None]
    if strays:
        logger.warning("%s: not called %s and left alone: %s", folder, EPISODE_NAME, listed(strays))


def listed(names: list[str]) -> str:
    """Names for a message; of a long list the first and a count."""
    return listing(names, _MOST_NAMES)


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
    wanted = f"{split}/{task}/{episodes_below(task)}"
    remedy = f"set data_folder to the folder that holds {wanted}"
    if not root.is_dir():
        made = f"`sam2act demos --tasks {task} --output {root / split}` makes demos there"
        return f"{root}: no such folder; {remedy}; {made}"
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
    splits = [path.name for path in visible_folders(root) if tasks_below(path)]
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
    return f"{question}{folder} holds the tasks {listed(tasks)}: change the task, or {remedy}"
