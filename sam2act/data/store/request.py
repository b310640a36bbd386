"""Which recorded episodes a store shall hold, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.core.registry import SOURCES
from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.source import EpisodeSource, SourceRequest
from sam2act.data.store.task_store import task_folder
from sam2act.data.store.writer import StoreSettings

DEMOS, REPLAYS = "rlbench", "peract_replay"
_ORIGINS = {DEMOS: "demos"}  # what the index of a store calls a source


@dataclass(frozen=True)
class StoreRequest:
    """Which demos a store shall hold. Names follow the configuration keys.

    A sparse store of demos holds the frames that keyframe chains show, a dense one all frames.
    """

    data_folder: str | Path
    store_folder: str | Path
    split: str = "train"
    demo: int = 100
    demo_start: int = 0
    cameras: tuple[str, ...] = POLICY_CAMERAS
    image_size: int = 128
    gripper_threshold: float | None = None
    assume_ignore_collisions: bool | None = None
    wordings: int = 1  # demo n is told its instruction n mod this
    numbers: tuple[int, ...] | None = None  # these episodes instead of a range; all must be there
    store_alone: bool = False  # a finished store serves where the demos are absent
    source: str = DEMOS  # name in SOURCES
    dense: bool = False
    depth: bool = True  # False: colour only

    @property
    def episodes(self) -> Sequence[int]:
        """The wanted episode numbers."""
        if self.numbers is not None:
            return self.numbers
        return range(self.demo_start, self.demo_start + self.demo)

    def settings(self, task: str) -> StoreSettings:
        """The settings that are part of the store."""
        origin = _ORIGINS.get(self.source, self.source)
        return StoreSettings(
            *(task, self.split, tuple(self.cameras), self.image_size, origin),
            gripper_threshold=self.gripper_threshold,
            assume_ignore_collisions=self.assume_ignore_collisions,
            depth=self.depth,
            dense=self.dense,
            wordings=self.wordings if self.wordings > 1 else None,
        )

    @property
    def root(self) -> Path:
        """The folder of all splits; dense stores and those of other sources lie apart."""
        parts = [] if self.source == DEMOS else [self.source]
        return Path(self.store_folder, *parts, *(["dense"] if self.dense else []))

    def folder(self, task: str) -> Path:
        """Where the store of `task` lies."""
        return task_folder(self.root, self.split, task)

    def source_request(self, task: str) -> SourceRequest:
        """What the source of a task is called with."""
        return SourceRequest(
            *(Path(self.data_folder), self.split, task, tuple(self.cameras), self.image_size),
            options={
                "gripper_threshold": self.gripper_threshold,
                "assume_ignore_collisions": self.assume_ignore_collisions,
                "wordings": self.wordings,
            },
        )

    def open_source(self, task: str) -> EpisodeSource:
        """The recorded episodes of a task.

        Raises:
            ConfigError: there is no source of that name.
        """
        source: EpisodeSource = SOURCES.get(self.source)(self.source_request(task))
        return source
