"""Printing where the terminal cannot show every letter (LC_ALL=C, old code pages, pipes)."""

from __future__ import annotations

import codecs
import io
import sys

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


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters)
    return "".join(plain), error.end
