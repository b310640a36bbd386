"""robomimic's demonstrations as a source: `image_abs.hdf5`, whose actions are absolute targets.

A task is all demonstrations of its file; `tool_hang@train` is those of filter key `train`. A split
other than `train` is a filter key, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sam2act.data.hdf5.files import SUFFIXES, DemoFile, h5py_problem
from sam2act.data.plain_source import PlainSource
from sam2act.data.pose_targets import are_targets, pose_targets
from sam2act.data.source import AbsentError, SourceError

POSITION = "robot0_eef_pos"
TRAINING, MARK = "train", "@"  # the split that is no filter key; what stands before a filter key
_FILE = "image_abs.hdf5"


class RobomimicFile(DemoFile):
    """The demonstrations of a task, or those under a filter key."""

    def __init__(self, path: Path, task: str, key: str = "") -> None:
        """Open it.

        Raises:
            SourceError: it is no such file, or has no such filter key.
        """
        super().__init__(path)
        self._task = task
        self._chosen = self.masked(key) if key else super().episodes()

    def episodes(self) -> Sequence[int]:
        """The numbers of the demonstrations."""
        return self._chosen

    @property
    def instruction(self) -> str:
        """The name of the task in words."""
        return self._task.replace("_", " ")

    def targets(
        self, commands: np.ndarray, numbers: Mapping[str, np.ndarray], place: str
    ) -> np.ndarray:
        """The recorded ones.

        Raises:
            SourceError: they are relative.
        """
        positions = numbers.get(POSITION)
        if positions is not None and not are_targets(commands, positions):
            raise SourceError(
                f"{self.path}: {place}/actions are far from obs/{POSITION}, so they are relative; "
                f"name the file with absolute ones, {_FILE}"
            )
        return pose_targets(commands)


class RobomimicSource(PlainSource):
    """The demonstrations of one task of robomimic."""

    @staticmethod
    def problem() -> str:
        """What is lacking to read them; empty if nothing is."""
        return h5py_problem()

    def open(self) -> RobomimicFile:
        """The file of the task.

        Raises:
            AbsentError: it is not there.
            SourceError: the split is no filter key, or holds out what is trained on.
        """
        task, _, key = self.request.task.partition(MARK)
        path = _file_of(self.request.folder, task)
        split = self.request.split
        if split != TRAINING and not key:
            raise SourceError(
                f"validation.split: {split} is a filter key of {path}, but tasks: {task} trains on "
                f"all demonstrations; set tasks to {task}{MARK}train, or hold out others with "
                "validation.split train and validation.demo_start"
            )
        return RobomimicFile(path, task, key if split == TRAINING else split)


def _file_of(folder: Path, task: str) -> Path:
    """The file itself, or as robomimic and Diffusion Policy lay it down."""
    if folder.is_file():
        return folder
    inside = [folder / task / "ph" / _FILE, folder / task / _FILE, folder / _FILE]
    places = [*inside, *(folder / f"{task}{suffix}" for suffix in SUFFIXES)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise AbsentError(
            f"{folder}: holds no {task}/ph/{_FILE}; name the file itself as data_folder, or the "
            "folder that holds that of every task"
        )
    return found
