"""Files that appear whole or not at all, digests, order, and refusals of the system in one line.

Standard library only, so that every part of the package and every script may use it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_CHOOSE = "or choose another folder"
_ROOM = f"make room there, {_CHOOSE}"
_RIGHTS = f"change its permissions, {_CHOOSE}"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: f"raise the limit of file sizes (ulimit -f), {_CHOOSE}",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "choose a folder that can be written",
    errno.ENOTDIR: f"move that file away, {_CHOOSE}",
    errno.EEXIST: f"move it away, {_CHOOSE}",
    errno.EISDIR: "name a file, or move that folder away",
    errno.ENOENT: "check the path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle: repair them",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "use fewer workers or a smaller batch",
}
_OTHERWISE = "check the disk, the path and its permissions"
# What libraries that write by themselves say in place of an OSError.
_NUMBERED = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITER = ("inline_container", "PytorchStreamWriter", "iostream error")
_DIGITS = re.compile(r"\d+|\D+")
_PARTIAL = ".part"  # ends the names of files that are being written
_LONGEST_NAME = 200  # characters of a path that a message shows
_BLOCK = 1 << 20  # bytes per read


def is_refusal(error: BaseException) -> bool:
    """Whether the operating system refused something; libraries raise other `OSError`s, too."""
    return isinstance(error, OSError) and error.errno is not None


def one_line(error: BaseException) -> str:
    """Class and message of `error`; of a refusal the file, the cause and the remedy."""
    text = _explained(error) if isinstance(error, OSError) and is_refusal(error) else str(error)
    return f"{type(error).__name__}: {text}"


def report_error(error: BaseException, status: int = 2) -> int:
    """Print a user's error as one line on standard error; `status`.

    Raises:
        OSError: `error` itself, if it is one that the operating system has not raised: a fault of
            the program must stay visible.
    """
    if isinstance(error, OSError) and not is_refusal(error):
        raise error
    print(one_line(error), file=sys.stderr)
    return status


def _explained(error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0, _OTHERWISE)
    if error.filename is None:
        return f"{error.strerror}; {remedy}"
    path = os.fsdecode(error.filename) if not isinstance(error.filename, int) else ""
    obstacle = _file_on_the_way(path) if error.errno in (errno.ENOTDIR, errno.EEXIST) else ""
    if obstacle:
        return f"{obstacle}: is a file where a folder is needed; {remedy}"
    shown = path if len(path) <= _LONGEST_NAME else f"{path[:_LONGEST_NAME]}..."
    return f"{shown}: {error.strerror}; {remedy}"


def _file_on_the_way(path: str) -> str:
    """The first part of `path` that is a file; empty if none is."""
    parts = [Path(path), *Path(path).parents]
    return str(next((part for part in reversed(parts) if part.is_file()), ""))


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turns every failure to write inside into an `OSError` that names `path`.

    Writing through an open file raises errors without a name, and libraries that write by
    themselves raise errors of their own.
    """
    try:
        yield
    except Exception as error:
        refusal = _refusal_behind(error)
        if refusal is None:
            raise
        name = str(refusal.filename or path)
        if name.startswith(f"{path}{_PARTIAL}"):
            name = str(path)
        raise OSError(refusal.errno, refusal.strerror, name) from error


def _refusal_behind(error: BaseException) -> OSError | None:
    """The system's refusal that caused `error`, or `error` itself; None if it was no refusal."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause if cause.errno is not None else None
        cause = cause.__cause__ or cause.__context__
    numbered = _NUMBERED.search(str(error))
    if numbered:
        number = int(numbered.group(1))
        return OSError(number, os.strerror(number))
    if any(word in str(error) for word in _TORCH_WRITER):
        return OSError(errno.EIO, "could not be written completely")
    return None


@contextlib.contextmanager
def replacing(path: str | Path, *, shared: bool = False) -> Iterator[Path]:
    """Yields a path to write to; on success it takes the place of `path` at once.

    A crash leaves the old file or the new one, never half of one; an error inside leaves no trace.

    Args:
        path: the file.
        shared: other processes may be writing it, too.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}{_PARTIAL}" + (f"-{os.getpid()}" if shared else ""))
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            flush(partial)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def append_line(path: Path, line: str, header: str = "") -> None:
    """Add a line to a table and wait until it is on the disk.

    What an interruption left of another line is removed.

    Args:
        path: the file; it is made where there is none.
        line: with its line break.
        header: first line of a new file, with its line break.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as stream:
            stream.seek(0)
            whole = stream.read().rpartition(b"\n")
            stream.truncate(len(whole[0]) + len(whole[1]))
            stream.write((line if whole[1] else header + line).encode())
            stream.flush()
            os.fsync(stream.fileno())


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of the content of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def natural_order(path: str | Path) -> list[tuple[int, int, str]]:
    """A sorting key by which `test/2` comes before `test/10`, and numbers before words."""
    parts = _DIGITS.findall(str(path))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def flush(path: Path) -> None:
    """Waits until the content of a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
