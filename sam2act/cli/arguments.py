"""Types of command-line arguments that several scripts share."""

from __future__ import annotations

import argparse


def positive_number(text: str) -> int:
    """A whole number above 0.

    Raises:
        argparse.ArgumentTypeError: `text` is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)
