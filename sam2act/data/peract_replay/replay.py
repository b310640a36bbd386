"""Import of released replay folders into the frame store: their training records as they are."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.peract_replay.files import (
    source_fingerprint,
)
from sam2act.data.peract_replay.source import ReplaySource
from sam2act.data.rlbench.demo_folders import warn_of_absent
from sam2act.data.source import SourceRequest
from sam2act.data.store.checks import warn_of_oddities
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import StoreError, read_index, task_folder
from sam2act.data.store.writer import (
    StoreSettings,
    TaskStoreWriter,
    building_lock,
    clean_leftovers,
    writing_task_store,
)

logger = logging.getLogger(__name__)
ORIGIN = "published replay"
REPLAY_FOLDER = "replay"  # below the store folder, apart from the stores of recorded demos


@dataclass(frozen=True)
class ReplayRequest:
    """Which replay to import and where to. Names follow the configuration keys."""

    replay_folder: str | Path  # holds one folder per task
    store_folder: str | Path
    split: str = "train"
    cameras: tuple[str, ...] = POLICY_CAMERAS
    image_size: int = 128

    def settings(self, task: str) -> StoreSettings:
        """The settings that are part of the store."""
        return StoreSettings(task, self.split, tuple(self.cameras), self.image_size, ORIGIN)

    def open_source(self, task: str) -> ReplaySource:
        """The replay of a task."""
        return ReplaySource(
            SourceRequest(
                *(Path(self.replay_folder), self.split, task, tuple(self.cameras), self.image_size)
            )
        )

    def rebuild_reason(self, task: str, fingerprint: str = "") -> str:
        """Why the replay of `task` must be imported; empty if its store can be used.

        `fingerprint` is that of its files, where it is known already.
        """
        try:
            index = read_index(self.folder(task))
        except StoreError as error:
            return str(error)
        expected = self.settings(task)._asdict() | {"cameras": list(self.cameras)}
        changed = [name for name, value in expected.items() if index.get(name) != value]
        if changed:
            return f"{changed[0]} changed from {index.get(changed[0])} to {expected[changed[0]]}"
        fingerprint = fingerprint or source_fingerprint(Path(self.replay_folder) / task)
        same = index["episodes"][0].get("source") == fingerprint
        return "" if same else f"the files of {self.replay_folder} have changed"

    def folder(self, task: str) -> Path:
        """Where the store of `task` lies."""
        return task_folder(Path(self.store_folder) / REPLAY_FOLDER, self.split, task)


def import_replay(
    request: ReplayRequest, tasks: Sequence[str], *, refresh: bool = False, progress: bool = True
) -> KeyframeStore:
    """Imports the replay folders of `tasks` (one process) and opens the resulting stores.

    A store that was imported before from the same files is used as it is.

    Raises:
        ReplayError: a folder or record is absent, damaged or does not fit the settings.
    """
    sources = {task: Path(request.replay_folder) / task for task in tasks}
    fingerprints = {task: source_fingerprint(source) for task, source in sources.items()}
    for task, source in sources.items():
        target = request.folder(task)
        with building_lock(target):
            clean_leftovers(target)
            if refresh or request.rebuild_reason(task, fingerprints[task]):
                logger.info("importing the released replay %s into %s", source, target)
                with writing_task_store(target, request.settings(task), source) as writer:
                    name = f"{request.split}/{task}"
                    reader = request.open_source(task)
                    _import_task(reader, fingerprints[task], writer, name, progress)
    store = open_replay(request, tasks)
    warn_of_oddities(store)
    return store


def open_replay(
    request: ReplayRequest, tasks: Sequence[str], *, episodes: Collection[int] | None = None
) -> KeyframeStore:
    """Opens imported stores, limited to `episodes` (all processes, after a barrier).

    Warns with the count where a replay holds fewer of the `episodes`.

    Raises:
        StoreError: a store is absent, damaged or has other cameras or another image size.
    """
    folder = Path(request.store_folder) / REPLAY_FOLDER
    store = KeyframeStore.open(
        folder, request.split, tasks, episodes=episodes, form=request.settings("").form
    )
    if episodes is not None:
        for row, task in enumerate(store.tasks):
            present = set(store.table["episode"][store.task_index == row].tolist())
            warn_of_absent(request.split, task, len(present), len(set(episodes)))
    return store


def _import_task(
    source: ReplaySource, fingerprint: str, writer: TaskStoreWriter, name: str, progress: bool
) -> None:
    from tqdm import tqdm

    for number in tqdm(source.episodes(), name, unit="demo", disable=not progress):
        episode = source.stored(number)
        episode.entry["source"] = fingerprint
        writer.add(episode)
