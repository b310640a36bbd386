"""Printing where the terminal cannot show every letter (LC_ALL=C, old code pages, pipes)."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from contextlib import suppress

_HANDLER = "sam2act.plain"
_PLAIN = {
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("–—−", "-"),
    **{"…": "...", "±": "+-", "°": " degrees", "×": "x", "µ": "u", "\u00a0": " "},
}


def make_output_safe() -> None:
    """Make printing and logging replace characters that the encoding lacks, instead of failing.

    They become plain letters or escapes. Entry points call this first.
    """
    codecs.register_error(_HANDLER, _in_plain_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def reader_left() -> bool:
    """Whether the program that read this one's output through a pipe has ended, as `head` does."""
    poll = select.poll()
    for descriptor in _descriptors():
        poll.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def drop_output() -> None:
    """Discard what is printed from now on and what has not been written yet.

    Python would complain at its end that nobody read it.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in _descriptors():
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _descriptors() -> list[int]:
    """The file descriptors of standard output and error, without those that are no files."""
    found = []
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            found.append(stream.fileno())
    return found


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters)
    return "".join(plain), error.end
