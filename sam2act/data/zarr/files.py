"""Opening zarr groups, of format 2 and 3, in folders and in zip files."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.source import AbsentError, SourceError

SUFFIXES = (".zarr", ".zarr.zip", ".zarr.tar.lz4", ".tar.lz4")
ARCHIVE = ".tar.lz4"
AGAIN = "copy it again, or upgrade the package zarr (stores of format 3 need zarr 3)"
CODECS = "its pictures are compressed: pip install 'sam2act[umi]'"
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
    """Whether `path` is a zarr group, or a zip file or an archive of one."""
    if path.name.endswith((SUFFIXES[1], ARCHIVE)):
        return True
    return any((path / mark).is_file() for mark in _MARKS)


def find_store(folder: Path, split: str, task: str) -> Path:
    """The store of a task: `folder` itself, or `[<split>/]<task>.zarr[.zip]` in it. An
    archive `<task>[.zarr].tar.lz4` is unpacked beside itself once.

    Raises:
        AbsentError: there is none.
        SourceError: an archive cannot be unpacked.
    """
    if is_store(folder):
        return _unpacked(folder)
    places = [
        place / f"{task}{suffix}" for place in (folder / split, folder) for suffix in SUFFIXES
    ]
    for place in places:
        if place.exists():
            return _unpacked(place)
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
    _know_picture_codecs()
    try:
        where = str(path)
        if path.is_file():
            where = library.storage.ZipStore(where, mode="r")
        return library.open_group(where, mode="r")
    except Exception as error:  # the library raises many kinds
        raise _unreadable(path, error) from error


def arrays_of(group: Any, path: Path) -> dict[str, Any]:
    """The arrays of a group of the store at `path`, by name.

    Raises:
        SourceError: one cannot be opened, for example because its codec is not known.
    """
    try:
        return dict(group.arrays())
    except Exception as error:  # the library raises many kinds
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    cause = " ".join(str(error).split())
    remedy = CODECS if "imagecodecs" in cause else AGAIN
    return SourceError(
        f"{path}: is no readable zarr group ({type(error).__name__}: {cause}); {remedy}"
    )


def _know_picture_codecs() -> None:
    """Let zarr read pictures in JPEG XL or JPEG 2000, where the package for them is installed."""
    with contextlib.suppress(ImportError):
        import_module("imagecodecs.numcodecs").register_codecs(verbose=False)


def _unpacked(path: Path) -> Path:
    """The store at `path`; an archive of one is unpacked beside itself, once.

    Raises:
        SourceError: it is damaged, holds no store, or lz4 is not installed.
    """
    if not path.name.endswith(ARCHIVE):
        return path
    target = path.with_name(path.name.removesuffix(ARCHIVE).removesuffix(".zarr") + ".zarr")
    if target.exists():
        return target
    try:
        lz4: Any = import_module("lz4.frame")
    except ImportError as error:
        raise SourceError(
            f"{path}: unpacking it needs the package lz4 ({error}); pip install 'sam2act[umi]'"
        ) from error
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{target.name}-") as name:
        folder = Path(name)
        try:
            with lz4.open(path, "rb") as content, tarfile.open(fileobj=content, mode="r|") as files:
                files.extractall(folder, filter="data")
        except (RuntimeError, EOFError, tarfile.TarError) as error:
            raise SourceError(f"{path}: is no readable archive ({error}); copy it again") from error
        stores = [place for place in (folder, *sorted(folder.rglob("*"))) if is_store(place)]
        if not stores:
            raise SourceError(f"{path}: holds no zarr store; name another archive")
        if stores[0] == folder:
            stores[0] = folder / target.name
            stores[0].mkdir()
            for file in list(folder.iterdir()):
                if file != stores[0]:
                    file.rename(stores[0] / file.name)
        stores[0].rename(target)
    return target


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
