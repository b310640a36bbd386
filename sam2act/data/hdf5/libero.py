"""LIBERO's demonstrations as a source: one HDF5 file per task, `<task>_demo.hdf5`.

Actions become absolute targets. LIBERO's own files hold relative ones (robosuite's OSC_POSE), and
every observation is the one after the action of its step, so each motion starts at the pose of the
step before. Pictures stay as they were recorded: upside down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.hdf5.files import SUFFIXES, DemoFile, h5py_problem
from sam2act.data.plain_source import PlainSource
from sam2act.data.pose_targets import are_targets, pose_targets, targets_of_motions
from sam2act.data.source import AbsentError, SourceError

POSES = "ee_states"  # position and rotation vector of the gripper
REACH = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5)  # metres, radians of a command of 1
_SCENE = re.compile(r"^[A-Z_]+SCENE\d+_")  # before the words in the name of a task


class LiberoFile(DemoFile):
    """The demonstrations of one task."""

    @property
    def instruction(self) -> str:
        """That of the file, else the words of its name."""
        told = self.told("problem_info").get("language_instruction")
        text = "".join(told) if isinstance(told, list) else told
        if isinstance(text, str) and text.strip():
            return text.strip().strip('"')
        words = self.path.stem.removesuffix("_demo")
        return _SCENE.sub("", words).replace("_", " ")

    def targets(
        self, commands: np.ndarray, numbers: Mapping[str, np.ndarray], place: str
    ) -> np.ndarray:
        """Absolute commands as they are, relative ones added to the pose before.

        Raises:
            SourceError: the poses are absent.
        """
        poses = numbers.get(POSES)
        if poses is None or poses.shape != (len(commands), 6):
            raise SourceError(
                f"{self.path}: {place}/obs/{POSES} must be (T, 6), position and rotation vector of "
                "the gripper; download the data set again, with its observations"
            )
        if not are_targets(commands, poses[:, :3]):
            before = np.concatenate([poses[:1], poses[:-1]]).astype(np.float64)
            commands = targets_of_motions(commands, before, np.array(self._reach))
        return pose_targets(commands)

    @property
    def _reach(self) -> tuple[float, ...]:
        settings: Any = self.settings.get("env_kwargs") or {}
        told = (settings.get("controller_configs") or {}).get("output_max")
        return tuple(told) if isinstance(told, list) and len(told) == 6 else REACH


class LiberoSource(PlainSource):
    """The demonstrations of one task of LIBERO."""

    @staticmethod
    def problem() -> str:
        """What is lacking to read them; empty if nothing is."""
        return h5py_problem()

    def open(self) -> LiberoFile:
        """The file of the task.

        Raises:
            AbsentError: it is not there.
        """
        return LiberoFile(_file_of(self.request.folder, self.request.split, self.request.task))


def _file_of(folder: Path, split: str, task: str) -> Path:
    places = [
        place / f"{task}{ending}{suffix}"
        for place in (folder / split, folder)
        for ending in ("_demo", "")
        for suffix in SUFFIXES
    ]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise AbsentError(
            f"{folder}: holds no {task}_demo.hdf5; data_folder must hold one file per task, for "
            "example LIBERO's folder libero_10"
        )
    return found
