"""Files of demonstrations in robomimic's layout.

    data/demo_N/actions     (T, 7)
    data/demo_N/obs/<key>   (T, ...): pictures (T, H, W, 3) uint8, all else parts of the state
    data                    attributes: `env_args`, a JSON text with the rate of the control
    mask/<filter key>       names of demonstrations

A picture `agentview_rgb` or `sideview_image` is that of camera `agentview` or `sideview`; parts of
the state keep their names. h5py is needed (extra `data`). Legend: T steps of a demonstration.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.core.actions import EE_POSE_6D
from sam2act.core.wording import listing
from sam2act.data.exchange import RGB, PlainEpisode
from sam2act.data.source import SourceError

SUFFIXES = (".hdf5", ".h5")
DATA, MASKS, OBSERVED, ACTIONS = "data", "mask", "obs", "actions"
COMMAND = 7  # numbers: position or translation, rotation vector, gripper
RATE = 20.0  # Hz, of robosuite's control unless the file says something else
_PICTURES = (RGB, "_image")


def h5py_problem() -> str:
    """Why HDF5 files cannot be read here, and the remedy; empty if they can."""
    try:
        import_module("h5py")
    except ImportError as error:
        return f"the package h5py cannot be used ({error}); pip install 'sam2act[data]'"
    return ""


class DemoFile:
    """The demonstrations of one file, whose actions become absolute targets (T, 10)."""

    action_mode = EE_POSE_6D.mode

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            SourceError: it is no such file, or h5py is not installed.
        """
        self.path = path
        problem = h5py_problem()
        if problem:
            raise SourceError(problem)
        try:
            self._file: Any = import_module("h5py").File(path, "r")
        except OSError as error:
            raise SourceError(
                f"{path}: is no readable HDF5 file ({error}); copy it again"
            ) from error
        if DATA not in self._file:
            raise SourceError(
                f"{path}: has no group {DATA}, but {listing(self._file) or 'nothing'}; name a file "
                "of demonstrations in robomimic's layout"
            )
        found = (re.fullmatch(r"demo_(\d+)", name) for name in self._file[DATA])
        self._numbers = sorted(int(match[1]) for match in found if match)
        if not self._numbers:
            raise SourceError(f"{path}: {DATA} holds no demo_0, demo_1, ...; copy the file again")

    @property
    def rate(self) -> float:
        """Steps per second."""
        settings = self.settings.get("env_kwargs") or {}
        return float(settings.get("control_freq") or RATE)

    def episodes(self) -> Sequence[int]:
        """The numbers of the demonstrations."""
        return self._numbers

    def read(self, number: int) -> PlainEpisode:
        """One of them.

        Raises:
            SourceError: it lacks something, or its arrays do not agree.
        """
        place = f"{DATA}/demo_{number}"
        commands = self.array(f"{place}/{ACTIONS}").astype(np.float64)
        if commands.ndim != 2 or commands.shape[1] != COMMAND:
            raise SourceError(
                f"{self.path}: {place}/{ACTIONS} has shape {commands.shape}, expected (T, "
                f"{COMMAND}): position, rotation vector, gripper; convert the file to that form"
            )
        numbers, images = self._observed(f"{place}/{OBSERVED}", len(commands))
        sizes = {name: self._file[key].shape[1:3] for name, key in images.items()}
        return PlainEpisode(
            length=len(commands),
            instructions=(self.instruction,),
            numbers=numbers,
            images=sizes,
            image=lambda name, frame: np.asarray(self._file[images[name]][frame]),
            actions=self.targets(commands, numbers, place),
        )

    def digest(self, number: int) -> str:
        """Digest of the size and time of the file."""
        status = self.path.stat()
        return hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()

    # ------------------------------------------------------------- what files of a kind differ in
    @property
    def instruction(self) -> str:
        """What the robot was told."""
        raise NotImplementedError

    def targets(
        self, commands: np.ndarray, numbers: Mapping[str, np.ndarray], place: str
    ) -> np.ndarray:
        """(T, 10) of the recorded commands (T, 7) and the state."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------- reading
    @cached_property
    def settings(self) -> dict[str, Any]:
        """Of the simulator; empty where the file does not tell them."""
        return self.told("env_args")

    def told(self, name: str) -> dict[str, Any]:
        """An attribute of `data` that is a JSON text; empty where there is none."""
        text = self._file[DATA].attrs.get(name, "{}")
        try:
            found = json.loads(text)
        except (TypeError, ValueError) as error:
            raise SourceError(
                f"{self.path}: attribute {name} of {DATA} is no JSON text ({error}); copy the file "
                "again"
            ) from error
        return found if isinstance(found, dict) else {}

    def masks(self) -> list[str]:
        """The filter keys."""
        return list(self._file[MASKS]) if MASKS in self._file else []

    def masked(self, key: str) -> list[int]:
        """The numbers of the demonstrations under a filter key.

        Raises:
            SourceError: there is no such key.
        """
        if key not in self.masks():
            raise SourceError(
                f"{self.path}: has no filter key {key}; there are {listing(self.masks()) or 'none'}"
            )
        names = (name.decode() for name in self.array(f"{MASKS}/{key}").astype(bytes))
        wanted = {int(name.removeprefix("demo_")) for name in names}
        return [number for number in self._numbers if number in wanted]

    def array(self, key: str) -> np.ndarray:
        """All of a data set.

        Raises:
            SourceError: it is absent or damaged.
        """
        if key not in self._file:
            raise SourceError(f"{self.path}: has no {key}; copy the file again")
        try:
            return np.asarray(self._file[key][()])
        except OSError as error:
            raise SourceError(
                f"{self.path}: {key} cannot be read ({error}); copy the file again"
            ) from error

    def _observed(self, place: str, length: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Parts of the state, and name of a picture -> its data set."""
        if place not in self._file:
            raise SourceError(f"{self.path}: has no {place}; record or copy observations, too")
        numbers, images = {}, {}
        for name, values in self._file[place].items():
            key = f"{place}/{name}"
            if values.shape[:1] != (length,):
                raise SourceError(
                    f"{self.path}: {key} has shape {values.shape}, but there are {length} actions; "
                    "copy the file again"
                )
            if len(values.shape) != 4:
                numbers[name] = self.array(key)
                continue
            if values.dtype != np.uint8 or values.shape[-1] != 3:
                raise SourceError(
                    f"{self.path}: {key} has shape {values.shape} and type {values.dtype}, "
                    "expected (T, H, W, 3) uint8; convert the pictures"
                )
            suffix = next((s for s in _PICTURES if name.endswith(s)), "")
            images[name.removesuffix(suffix) + RGB] = key
        return numbers, images
