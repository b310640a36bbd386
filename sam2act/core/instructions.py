"""What counts as an instruction: a text with at least one word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sam2act.core.errors import UserError


class LanguageError(UserError):
    """Instructions cannot be used or encoded as configured."""


def as_instruction(value: Any) -> str:
    """`value` as text; UTF-8 bytes and texts of numpy are understood.

    Raises:
        LanguageError: it is no text, or one without a letter or digit.
    """
    text = _decoded(value)
    if not isinstance(text, str):
        raise LanguageError(
            f"an instruction is one text, got {type(text).__name__} {str(text)[:60]!r}"
        )
    if not any(letter.isalnum() for letter in text):
        raise LanguageError(
            f"the instruction {text[:60]!r} has no word in it; write what is to be done, for "
            "example the name of the task"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise LanguageError(
            f"the instruction {text[:60]!r} is damaged ({error.reason}); store it as UTF-8"
        ) from error
    return str(text)


def as_instructions(values: Iterable[Any]) -> list[str]:
    """Each of `values` as text, see `as_instruction`.

    Raises:
        LanguageError: one of them is none, or `values` is a single text.
    """
    if isinstance(values, (str, bytes)):
        raise LanguageError(f"expected a list of instructions, got the single text {values!r}")
    return [as_instruction(value) for value in values]


def described(content: Any) -> tuple[str, ...]:
    """The instructions of an episode from what its file of descriptions holds.

    A list or array of texts. Only the first is ever used, so only that one must
    be an instruction; of the others those that are texts are kept.

    Raises:
        LanguageError: there is none, or the first is no text or has no word in it.
    """
    if isinstance(content, np.ndarray):
        content = content.reshape(-1).tolist() if content.ndim < 2 else content
    if not isinstance(content, (list, tuple)) or not content:
        raise LanguageError(
            f"needs a list with at least one instruction, got {type(content).__name__} "
            f"{str(content)[:60]!r}"
        )
    others = (_decoded(other) for other in content[1:])
    return (as_instruction(content[0]), *(text for text in others if isinstance(text, str)))


def _decoded(value: Any) -> Any:
    """Bytes as text, everything else as it is."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LanguageError(
            f"the instruction {value[:60]!r} is not UTF-8 ({error.reason}); store it as text"
        ) from error
