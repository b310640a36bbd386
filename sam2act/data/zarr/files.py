"""Opening zarr groups, of format 2 and 3, in folders and in zip files."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.source import AbsentError, SourceError

SUFFIXES = (".zarr", ".zarr.zip")
_MARKS = (".zgroup", "zarr.json", ".zmetadata")  # a folder that holds one of these is a group


def zarr() -> Any:
    """The zarr library.

    Raises:
        SourceError: it is not installed.
    """
    problem = zarr_problem()
    if problem:
        raise SourceError(problem)
    return import_module("zarr")


def zarr_problem() -> str:
    """Why zarr stores cannot be read here, and the remedy; empty if they can."""
    try:
        import_module("zarr")
    except ImportError as error:
        return f"the package zarr cannot be used ({error}); pip install 'sam2act[zarr]'"
    return ""


def require_writing() -> None:
    """Make sure that stores can be written.

    Raises:
        SourceError: zarr is absent, or too old.
    """
    version = str(zarr().__version__)
    if int(version.partition(".")[0]) < 3:
        raise SourceError(
            f"zarr {version} reads stores, but writing needs zarr 3; pip install 'zarr>=3' (Python "
            "3.11 or newer)"
        )


def is_store(path: Path) -> bool:
    """Whether `path` is a zarr group, or a zip file of one."""
    return path.name.endswith(SUFFIXES[1]) or any((path / mark).is_file() for mark in _MARKS)


def find_store(folder: Path, split: str, task: str) -> Path:
    """The store of a task: `folder` itself, or `[<split>/]<task>.zarr[.zip]` in it.

    Raises:
        AbsentError: there is none.
    """
    if is_store(folder):
        return folder
    places = [
        place / f"{task}{suffix}" for place in (folder / split, folder) for suffix in SUFFIXES
    ]
    for place in places:
        if place.exists():
            return place
    raise AbsentError(
        f"{folder}: holds no zarr store of {task}; name the store itself as data_folder, or put it "
        f"at {places[0]}"
    )


def open_group(path: Path) -> Any:
    """The group at `path`, for reading.

    Raises:
        SourceError: it cannot be opened.
    """
    library = zarr()
    try:
        where = str(path)
        if path.is_file():
            where = library.storage.ZipStore(where, mode="r")
        return library.open_group(where, mode="r")
    except Exception as error:  # the library raises many kinds
        cause = " ".join(str(error).split())
        raise SourceError(
            f"{path}: is no readable zarr group ({type(error).__name__}: {cause}); copy it again, "
            "or upgrade the package zarr (stores of format 3 need zarr 3)"
        ) from error


def files_digest(path: Path) -> str:
    """Digest of names, sizes and times of all files of a store."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        status = file.stat()
        name = file.relative_to(path).as_posix()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns};".encode())
    return digest.hexdigest()


class Rows:
    """The first axis of a zarr array, read chunk by chunk; the latest chunk is kept."""

    def __init__(self, array: Any, name: str) -> None:
        self.array, self.name = array, name
        self._step = int(array.chunks[0])
        self._latest: tuple[int, np.ndarray] | None = None

    def one(self, row: int) -> np.ndarray:
        """The values (...) of a row.

        Raises:
            SourceError: its chunk is damaged.
        """
        number, place = divmod(row, self._step)
        if self._latest is None or self._latest[0] != number:
            self._latest = number, self.part(number * self._step, (number + 1) * self._step)
        return self._latest[1][place]

    def part(self, first: int, end: int) -> np.ndarray:
        """The values (end - first, ...) of consecutive rows.

        Raises:
            SourceError: a chunk is damaged.
        """
        try:
            return np.asarray(self.array[first:end])
        except Exception as error:  # damaged files raise what their codec raises
            raise SourceError(
                f"{self.name}: rows {first} to {end - 1} cannot be read ({type(error).__name__}: "
                f"{error}); copy the store again"
            ) from error
