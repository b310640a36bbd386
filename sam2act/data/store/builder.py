"""Building frame stores from recorded episodes, and reusing them while nothing has changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam2act.core.errors import UserError
from sam2act.core.specs import TIME_FEATURE_LENGTH
from sam2act.data.rlbench.demo_folders import warn_of_absent
from sam2act.data.rlbench.types import DemoError
from sam2act.data.source import AbsentError, EpisodeSource, pictures_of
from sam2act.data.store.checks import warn_of_oddities
from sam2act.data.store.request import StoreRequest
from sam2act.data.store.store import KeyframeStore
from sam2act.data.store.task_store import (
    FORMAT_VERSION,
    FormatError,
    StoreError,
    TaskStore,
    read_index,
)
from sam2act.data.store.writer import (
    StoredEpisode,
    TaskStoreWriter,
    building_lock,
    clean_leftovers,
    has_store,
    writing_task_store,
)
from sam2act.data.transitions import shown_frames

logger = logging.getLogger(__name__)
_WIDER = ("depth",)  # settings of which a store may hold more than is asked for


def open_tasks(request: StoreRequest, tasks: Sequence[str]) -> list[TaskStore]:
    """Opens finished stores (all processes, after a barrier).

    Raises:
        StoreError: a store is absent, damaged or has other cameras or another image size.
    """
    form = request.settings("").form
    return [TaskStore(request.folder(task), form) for task in tasks]


def open_store(
    request: StoreRequest, tasks: Sequence[str], *, episode_length: int = TIME_FEATURE_LENGTH
) -> KeyframeStore:
    """Opens finished stores as keyframe records, limited to the requested episodes.

    Args:
        request: which demos.
        tasks: task names.
        episode_length: steps that the time feature spans.

    Raises:
        StoreError: as `open_tasks`.
    """
    return KeyframeStore(open_tasks(request, tasks), request.episodes, (), episode_length)


def ensure_store(
    request: StoreRequest,
    tasks: Sequence[str],
    *,
    refresh: bool = False,
    skip_bad_episodes: bool = False,
    progress: bool = True,
) -> KeyframeStore:
    """`ensure_tasks`, then `open_store`; what is odd in the records is logged.

    Raises:
        DemoError: no demos, a broken one, or one of the explicit `numbers` is absent.
    """
    ensure_tasks(
        *(request, tasks), refresh=refresh, skip_bad_episodes=skip_bad_episodes, progress=progress
    )
    store = open_store(request, tasks)
    warn_of_oddities(store)
    return store


def ensure_tasks(
    request: StoreRequest,
    tasks: Sequence[str],
    *,
    refresh: bool = False,
    skip_bad_episodes: bool = False,
    progress: bool = True,
) -> None:
    """Builds what is missing or out of date (one process).

    Nothing is written before the episodes of every task have been found.

    Args:
        request: which episodes.
        tasks: task names.
        refresh: build again even if nothing has changed.
        skip_bad_episodes: leave broken episodes out and name them, instead of stopping.
        progress: show a progress bar.

    Raises:
        DemoError: no episodes, a broken one, or one of the explicit `numbers` is absent.
    """
    for build in [_TaskBuild(request, task, skip_bad_episodes) for task in tasks]:
        with building_lock(build.folder):
            clean_leftovers(build.folder)
            reason = "a refresh was asked for" if refresh else build.reason()
            if reason:
                logger.info("building the frame store %s: %s", build.folder, reason)
                build.run(progress)
            build.list_skipped()


def rebuild_reasons(request: StoreRequest, tasks: Sequence[str]) -> dict[str, str]:
    """Task -> why `ensure_tasks` would build its store; empty where it would use it. Nothing is
    written.

    Raises:
        DemoError, StoreError: as `ensure_tasks`, but for broken episodes.
    """
    return {task: _TaskBuild(request, task, skip_bad=False).reason() for task in tasks}


class _TaskBuild:
    """The store of one task: whether it must be built, and how."""

    def __init__(self, request: StoreRequest, task: str, skip_bad: bool) -> None:
        """Looks for the episodes.

        Raises:
            DemoError: they are absent, and a store may not or cannot stand in for them.
        """
        self.request, self.task, self.skip_bad = request, task, skip_bad
        self.source: EpisodeSource = request.open_source(task)
        self.folder = request.folder(task)
        self._place = Path(request.data_folder, request.split, task)
        self.present: list[int] | None = None  # None: only a finished store is at hand
        self.wanted: list[int] = []
        try:
            self.present = list(self.source.episodes())
        except AbsentError as error:
            if not has_store(self.folder):
                raise
            if not request.store_alone:
                raise type(error)(
                    f"{error} (there is the store {self.folder}, {_built_from(self.folder)}; "
                    "training uses it alone where no data folder is given)"
                ) from error
            self._absent = error
        else:
            self.wanted = _present_episodes(request, task, self.present, self._place)

    # ------------------------------------------------------------------------------ reuse
    def reason(self) -> str:
        """Why the store must be built; empty if it can be used.

        Raises:
            StoreError: it must, but the episodes are absent, or those of somebody else.
        """
        request = self.request
        try:
            index = read_index(self.folder)
        except FormatError as error:
            self._require_demos(str(error))
            return f"it has another format version than {FORMAT_VERSION}"
        except StoreError as error:
            return str(error) if self.folder.exists() else "there is none yet"
        reason = self._settings_change(index)
        if self.present is None:
            self._require_demos(f"{self.folder}: {reason}" if reason else "")
            logger.info(
                "%s: no demos in %s; using the store as it is, %s",
                *(self.folder, request.data_folder, _built_from(self.folder)),
            )
            stored = [entry["episode"] for entry in index["episodes"]]
            _present_episodes(request, self.task, stored, self._place)
            return ""
        reason = reason or self._source_change(index)
        origin, asked = index.get("data_folder"), str(Path(request.data_folder).resolve())
        if reason and origin and origin != asked:
            raise StoreError(
                f"{self.folder}: was built from {origin}, which data_folder {request.data_folder} "
                f"does not agree with ({reason}); give these demos a store_folder of their own, "
                "name that data_folder, or replace the store with --refresh_replay"
            )
        return reason

    def _require_demos(self, reason: str) -> None:
        if reason and self.present is None:
            raise StoreError(
                f"{reason}, and the demos to build it again are not below data_folder "
                f"{self.request.data_folder}"
            )

    def _settings_change(self, index: dict[str, Any]) -> str:
        """Which setting of the store is another one than requested; empty if none is."""
        for name, value in self.request.settings(self.task)._asdict().items():
            stored = tuple(index[name]) if name == "cameras" else index.get(name)
            enough = name in _WIDER and stored
            if stored != value and not enough and not (name == "origin" and self.present is None):
                return f"{name} changed from {stored} to {value}"
        return ""

    def _source_change(self, index: dict[str, Any]) -> str:
        """Which requested episode differs from what the store was built from; empty if none."""
        known = {entry["episode"]: entry for entry in index["episodes"]}
        gone = sorted((known.keys() & set(self.request.episodes)) - set(self.wanted))
        if gone:
            return f"episode {gone[0]} is gone"
        if self.skip_bad:
            known.update({int(number): entry for number, entry in index["skipped"].items()})
        for number in self.wanted:
            entry = known.get(number)
            if entry is None:
                return f"episode {number} is not in the store"
            if entry["source"] != self.source.fingerprint(number, entry["frames"]):
                return f"the files of episode {number} have changed"
        return ""

    # --------------------------------------------------------------------------- building
    def run(self, progress: bool) -> None:
        """Writes the store: the wanted episodes and those it already serves to others.

        Raises:
            DemoError: an episode is broken, or all are.
        """
        from tqdm import tqdm

        request = self.request
        if self.present is None:
            raise self._absent
        required = set(self.wanted)
        numbers = sorted(required | self._other_stored_episodes())
        settings, rate = request.settings(self.task), self.source.rate
        with writing_task_store(self.folder, settings, request.data_folder, rate) as writer:
            name = f"{request.split}/{self.task}"
            for number in tqdm(numbers, name, unit="demo", disable=not progress):
                self._add(writer, number, self.skip_bad or number not in required)
            if not required - {int(number) for number in writer.skipped}:
                reasons = "; ".join(entry["reason"] for entry in writer.skipped.values())
                raise DemoError(f"{self._place}: every requested episode is broken: {reasons}")

    def _other_stored_episodes(self) -> set[int]:
        """Episodes outside the request that the present store holds and that are still there."""
        try:
            index = read_index(self.folder, any_version=True)
        except StoreError:
            return set()
        stored = {entry["episode"] for entry in index["episodes"]} - set(self.request.episodes)
        return stored & set(self.present or ())

    def _add(self, writer: TaskStoreWriter, number: int, skip_bad: bool) -> None:
        """Adds one episode, or notes it as skipped."""
        frames: list[int] = []
        try:
            writer.add(self._episode(number, frames))
        except UserError as error:
            if not skip_bad:
                raise type(error)(
                    f"{error} (--skip-bad-episodes leaves such episodes out)"
                ) from error
            writer.skipped[str(number)] = {
                "reason": str(error),
                "frames": frames,
                "source": self.source.fingerprint(number, frames),
            }

    def _episode(self, number: int, frames: list[int]) -> StoredEpisode:
        """Reads an episode; `frames` gets the numbers of its frames as soon as they are known."""
        request, source = self.request, self.source
        facts = source.facts(number)
        keyframes = list(facts.keyframes)
        if not (keyframes or request.dense):
            raise DemoError(
                f"{self._place}: nothing tells the keyframes of episode {number}, which this "
                "policy learns from; correct the source, or train a policy of dense actions"
            )
        frames += range(facts.length) if request.dense else shown_frames(facts.length, keyframes)
        states, actions = source.states(number), source.actions(number)
        where = request.source_request(self.task)
        pictures = pictures_of(source, where, number, frames, depth=request.depth)
        entry = {
            "episode": number,
            "instruction": source.instruction(number),
            "variation_number": facts.variation,
            "num_frames": facts.length,
            "keyframes": keyframes,
            "frames": frames,
            "source": source.fingerprint(number, frames),
        }
        return StoredEpisode(entry, pictures.images, pictures.calibration, states, actions)

    def list_skipped(self) -> None:
        """Names the requested episodes that the store lacks because they are broken."""
        for number, entry in read_index(self.folder)["skipped"].items():
            if int(number) in self.request.episodes:
                logger.warning(
                    "%s: episode %s was left out: %s", self.task, number, entry["reason"]
                )


def _built_from(folder: Path) -> str:
    """Where the store in `folder` comes from, in words."""
    try:
        origin = read_index(folder, any_version=True).get("data_folder")
    except StoreError:
        origin = ""
    return f"built from {origin}" if origin else "of unknown origin"


def _present_episodes(
    request: StoreRequest, task: str, present: Sequence[int], place: Path
) -> list[int]:
    """The requested episodes among those that are `present` in a `place`.

    Raises:
        DemoError: none is there, or not all of those named one by one.
    """
    wanted = sorted(set(present) & set(request.episodes))
    if request.numbers is not None:
        absent = sorted(set(request.numbers) - set(present))
        if absent:
            raise DemoError(
                f"{place}: holds no episode {', '.join(map(str, absent))}; name others with "
                f"--episodes (it holds {', '.join(map(str, present)) or 'none'})"
            )
    elif not wanted:
        first = request.demo_start
        raise DemoError(
            f"{place}: holds none of the episodes {first} to {first + request.demo - 1}, but "
            f"{len(present)} from {min(present)} to {max(present)}; check demo and demo_start"
        )
    else:
        warn_of_absent(request.split, task, len(wanted), request.demo)
    return wanted
