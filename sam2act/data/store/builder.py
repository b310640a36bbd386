"""Building frame stores from recorded demos, and reusing them while nothing has changed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2act.data.recorded_rules import Source, check_cameras
from sam2act.data.rlbench.demo_folders import (
    episode_folders,
    episode_number,
    episodes_folder,
    warn_of_absent,
    warn_of_strays,
    why_absent,
)
from sam2act.data.rlbench.demo_images import IMAGE_KINDS, image_path, read_images
from sam2act.data.rlbench.demos import (
    LOW_DIM_FILE,
    PICKLE_FILES,
    camera_arrays,
    episode_keyframes,
    frame_labels,
    read_episode,
)
from sam2act.data.rlbench.types import DemoError
from sam2act.data.store.bounds_check import require_live_cameras, require_points
from sam2act.data.store.checks import warn_of_oddities
from sam2act.data.store.store import KeyframeStore, StoreError, read_index, task_folder
from sam2act.data.store.writer import (
    StoredEpisode,
    StoreSettings,
    TaskStoreWriter,
    building_lock,
    clean_leftovers,
    has_store,
    writing_task_store,
)
from sam2act.data.transitions import build_transitions, shown_frames

logger = logging.getLogger(__name__)
ORIGIN = "demos"


@dataclass(frozen=True)
class StoreRequest:
    """Which demos a store shall hold. Names follow the configuration keys."""

    data_folder: str | Path
    store_folder: str | Path
    split: str = "train"
    demo: int = 100
    demo_start: int = 0
    cameras: tuple[str, ...] = ("front", "left_shoulder", "right_shoulder", "wrist")
    image_size: int = 128
    gripper_threshold: float | None = None
    assume_ignore_collisions: bool | None = None
    numbers: tuple[int, ...] | None = None  # these episodes instead of a range; all must be there
    store_alone: bool = False  # a finished store serves where the demos are absent

    @property
    def episodes(self) -> Sequence[int]:
        """The wanted episode numbers."""
        if self.numbers is not None:
            return self.numbers
        return range(self.demo_start, self.demo_start + self.demo)

    def settings(self, task: str) -> StoreSettings:
        """The settings that are part of the store."""
        return StoreSettings(
            *(task, self.split, tuple(self.cameras), self.image_size, ORIGIN),
            gripper_threshold=self.gripper_threshold,
            assume_ignore_collisions=self.assume_ignore_collisions,
        )

    def folder(self, task: str) -> Path:
        """Where the store of `task` lies."""
        return task_folder(self.store_folder, self.split, task)


def open_store(request: StoreRequest, tasks: Sequence[str]) -> KeyframeStore:
    """Opens finished stores, limited to the requested episodes (all processes, after a barrier).

    Raises:
        StoreError: a store is absent, damaged or has other cameras or another image size.
    """
    return KeyframeStore.open(
        request.store_folder,
        request.split,
        tasks,
        episodes=request.episodes,
        form=request.settings("").form,
    )


def ensure_store(
    request: StoreRequest,
    tasks: Sequence[str],
    *,
    refresh: bool = False,
    skip_bad_episodes: bool = False,
    progress: bool = True,
) -> KeyframeStore:
    """Builds what is missing or out of date (one process) and opens the stores of `tasks`.

    Nothing is written before the demos of every task have been found.

    Args:
        request: which demos.
        tasks: task names.
        refresh: build again even if nothing has changed.
        skip_bad_episodes: leave broken episodes out and name them, instead of stopping.
        progress: show a progress bar.

    Raises:
        DemoError: no demos, a broken one, or one of the explicit `numbers` is absent.
    """
    wanted_episodes = {task: _wanted_episodes(request, task) for task in tasks}
    for task, wanted in wanted_episodes.items():
        folder = request.folder(task)
        with building_lock(folder):
            clean_leftovers(folder)
            reason = "a refresh was asked for"
            if not refresh:
                reason = _rebuild_reason(request, task, wanted, skip_bad_episodes)
            if reason:
                logger.info("building the frame store %s: %s", folder, reason)
                _build(request, task, wanted, skip_bad_episodes, progress)
            _list_skipped(request, task)
    store = open_store(request, tasks)
    warn_of_oddities(store)
    return store


def _wanted_episodes(request: StoreRequest, task: str) -> list[int] | None:
    """Requested episodes that exist on disk; None if only a finished store is at hand.

    Raises:
        DemoError: the demos are absent, and a store may not or cannot stand in for them.
    """
    folder = episodes_folder(request.data_folder, request.split, task)
    if not folder.is_dir() and has_store(request.folder(task)):
        if request.store_alone:
            return None
        raise DemoError(
            f"{why_absent(request.data_folder, request.split, task)} (there is the store "
            f"{request.folder(task)}, {_built_from(request.folder(task))}; training uses it alone "
            "where no data folder is given)"
        )
    present = list(_folders(request, task))
    warn_of_strays(request.data_folder, request.split, task)
    return _present_episodes(request, task, present, folder)


def _built_from(folder: Path) -> str:
    """Where the store in `folder` comes from, in words."""
    try:
        origin = read_index(folder).get("data_folder")
    except StoreError:
        origin = ""
    return f"built from {origin}" if origin else "of unknown origin"


def _present_episodes(
    request: StoreRequest, task: str, present: Sequence[int], folder: Path
) -> list[int]:
    """The requested episodes among those that `folder` holds.

    Raises:
        DemoError: none is there, or not all of those named one by one.
    """
    wanted = sorted(set(present) & set(request.episodes))
    if request.numbers is not None:
        absent = sorted(set(request.numbers) - set(present))
        if absent:
            raise DemoError(
                f"{folder}: holds no episode {', '.join(map(str, absent))}; name others with "
                f"--episodes (it holds {', '.join(map(str, present)) or 'none'})"
            )
    elif not wanted:
        first = request.demo_start
        raise DemoError(
            f"{folder}: holds none of the episodes {first} to {first + request.demo - 1}, but "
            f"{len(present)} from {min(present)} to {max(present)}; check demo and demo_start"
        )
    else:
        warn_of_absent(request.split, task, len(wanted), request.demo)
    return wanted


def _folders(request: StoreRequest, task: str) -> dict[int, Path]:
    """Number -> folder of the recorded episodes of `task`."""
    return episode_folders(request.data_folder, request.split, task)


def _rebuild_reason(
    request: StoreRequest, task: str, wanted: list[int] | None, skip_bad: bool
) -> str:
    """Why the store of `task` must be built; empty if it can be used."""
    folder = request.folder(task)
    try:
        index = read_index(folder)
    except StoreError as error:
        return str(error) if folder.exists() else "there is none yet"
    reason = _settings_change(request, task, index, ignore=("origin",) if wanted is None else ())
    if wanted is None:
        if reason:
            raise StoreError(
                f"{folder}: {reason}, and the demos to build it again are not below data_folder "
                f"{request.data_folder}"
            )
        logger.info(
            "%s: no demos in %s; using the store as it is, %s",
            *(folder, request.data_folder, _built_from(folder)),
        )
        stored = [entry["episode"] for entry in index["episodes"]]
        _present_episodes(request, task, stored, folder)
        return ""
    reason = reason or _source_change(request, task, wanted, index, skip_bad)
    origin, asked = index.get("data_folder"), str(Path(request.data_folder).resolve())
    if reason and origin and origin != asked:
        raise StoreError(
            f"{folder}: was built from {origin}, which data_folder {request.data_folder} does not "
            f"agree with ({reason}); give these demos a store_folder of their own, name that "
            "data_folder, or replace the store with --refresh_replay"
        )
    return reason


def _settings_change(
    request: StoreRequest, task: str, index: dict[str, Any], ignore: Sequence[str]
) -> str:
    """Which setting of the store is another one than requested; empty if none is."""
    for name, value in request.settings(task)._asdict().items():
        stored = tuple(index[name]) if name == "cameras" else index.get(name)
        if stored != value and name not in ignore:
            return f"{name} changed from {stored} to {value}"
    return ""


def _source_change(
    request: StoreRequest, task: str, wanted: list[int], index: dict[str, Any], skip_bad: bool
) -> str:
    """Which requested episode differs from what the store was built from; empty if none."""
    known = {entry["episode"]: entry for entry in index["episodes"]}
    gone = sorted((known.keys() & set(request.episodes)) - set(wanted))
    if gone:
        return f"episode {gone[0]} is gone"
    if skip_bad:
        known.update({int(number): entry for number, entry in index["skipped"].items()})
    folders = _folders(request, task)
    for number in wanted:
        entry = known.get(number)
        if entry is None:
            return f"episode {number} is not in the store"
        if entry["source"] != _fingerprint(folders[number], request.cameras, entry["frames"]):
            return f"the files of episode {number} have changed"
    return ""


def _fingerprint(folder: Path, cameras: Sequence[str], frames: Sequence[int]) -> str:
    """Digest of an episode's sources: content of the pickles, size and time of the images."""
    digest = hashlib.sha256()
    for name in PICKLE_FILES:
        path = folder / name
        digest.update(path.read_bytes() if path.is_file() else b"absent")
    for camera in cameras:
        for kind in IMAGE_KINDS:
            for frame in frames:
                try:
                    status = image_path(folder, camera, kind, frame).stat()
                    digest.update(f"{status.st_size} {status.st_mtime_ns};".encode())
                except OSError:
                    digest.update(b"absent;")
    return digest.hexdigest()


def _build(
    request: StoreRequest, task: str, wanted: list[int] | None, skip_bad: bool, progress: bool
) -> None:
    """Writes the store of `task`: the wanted episodes and those it already serves to others."""
    from tqdm import tqdm

    folders = _folders(request, task)  # raises with the remedy where there are none
    required = set(wanted or ())
    numbers = sorted(required | _other_stored_episodes(request, task))
    folder, settings = request.folder(task), request.settings(task)
    with writing_task_store(folder, settings, request.data_folder) as writer:
        bar = tqdm(numbers, f"{request.split}/{task}", unit="demo", disable=not progress)
        for number in bar:
            _add_episode(writer, folders[number], skip_bad or number not in required)
        if not required - {int(number) for number in writer.skipped}:
            reasons = "; ".join(entry["reason"] for entry in writer.skipped.values())
            root = episodes_folder(request.data_folder, request.split, task)
            raise DemoError(f"{root}: every requested episode is broken: {reasons}")


def _list_skipped(request: StoreRequest, task: str) -> None:
    """Names the requested episodes that the store lacks because they are broken."""
    for number, entry in read_index(request.folder(task))["skipped"].items():
        if int(number) in request.episodes:
            logger.warning("%s: episode %s was left out: %s", task, number, entry["reason"])


def _other_stored_episodes(request: StoreRequest, task: str) -> set[int]:
    """Episodes outside the request that the present store holds and that are still on disk."""
    try:
        index = read_index(request.folder(task))
    except StoreError:
        return set()
    stored = {entry["episode"] for entry in index["episodes"]} - set(request.episodes)
    return stored & _folders(request, task).keys()


def _add_episode(writer: TaskStoreWriter, folder: Path, skip_bad: bool) -> None:
    """Adds one episode, or notes it as skipped."""
    frames: list[int] = []
    cameras, image_size = writer.settings.form
    threshold = writer.settings.gripper_threshold
    try:
        episode = read_episode(folder)
        keyframes = episode_keyframes(episode, threshold)
        frames = shown_frames(len(episode.demo), keyframes)
        labels = frame_labels(episode, threshold, writer.settings.assume_ignore_collisions)
        table = build_transitions(episode.number, labels, keyframes)
        calibration = camera_arrays(episode, frames, cameras)
        images = read_images(folder, frames, cameras, image_size)
        source = Source.frames(folder / LOW_DIM_FILE, frames)
        check_cameras(source, cameras, image_size, *calibration)
        require_live_cameras(str(folder), images, cameras)
        require_points(folder, frames, images, calibration, cameras)
    except DemoError as error:
        if not skip_bad:
            raise DemoError(f"{error} (--skip-bad-episodes leaves such episodes out)") from error
        writer.skipped[str(episode_number(folder))] = {
            "reason": str(error),
            "frames": frames,
            "source": _fingerprint(folder, cameras, frames),
        }
        return
    entry = {
        "episode": episode.number,
        "instruction": episode.instruction,
        "variation_number": episode.variation_number,
        "num_frames": len(episode.demo),
        "keyframes": keyframes,
        "frames": frames,
        "source": _fingerprint(folder, cameras, frames),
    }
    writer.add(StoredEpisode(entry, table, images, calibration))
