"""From what a user typed to the value of a key: the annotation of the key decides, never the text.

Text stays text: `2024_11_28`, `1e3`, `007`, `None` and `yes` are names where a key holds a name,
and numbers, nothing or True only where it holds those.
"""

from __future__ import annotations

import math
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from sam2act.config.component import NAMES

TRUE_WORDS, FALSE_WORDS = ("true", "yes", "on"), ("false", "no", "off")
NOTHING_WORDS = ("", "~", "none", "null")  # only for keys that may hold None
BRACKETS = {"[": "]", "(": ")"}
QUOTES = "'\""
COMMA = re.compile(r",(?![^()]*\))")  # not one inside parentheses
KINDS = {
    int: "int (a whole number)",
    float: "float (a finite number)",
    bool: "bool (True or False)",
    str: "str (text)",
}


def read_value(value: Any, annotation: Any) -> Any:
    """`value` as the annotation of its key demands; lists where the annotation says tuple.

    Args:
        value: text (of an option or a yaml scalar), a list of such, or a value of the right type.
        annotation: int, float, bool, str, `tuple[X, ...]`, `X | None`, or an `Annotated` form.

    Raises:
        ValueError: the text cannot be read so; the message says what was expected.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return read_value(_joined(value) if NAMES in arguments else value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in NOTHING_WORDS):
            return None
        return read_value(value, next(kind for kind in arguments if kind is not type(None)))
    if origin is tuple:
        return [read_value(item, arguments[0]) for item in _items(value, arguments[0])]
    return _scalar(value, annotation)


def unquoted(text: str) -> str:
    """`text` without one pair of quotation marks around it."""
    quote = text[:1]
    if len(text) >= 2 and quote in QUOTES and text[-1] == quote and quote not in text[1:-1]:
        return text[1:-1]
    return text


def _scalar(value: Any, kind: type) -> Any:
    complaint = ValueError(f"expected {KINDS[kind]}, got {_shown(value)}")
    if isinstance(value, str):
        if kind is str:
            return value
        try:
            return _from_text(value, kind)
        except (ValueError, OverflowError):
            raise complaint from None
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and (whole or isinstance(value, float)) and math.isfinite(value):
        return float(value)
    if (kind is int and whole) or (kind is bool and isinstance(value, bool)):
        return value
    raise complaint


def _from_text(text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in TRUE_WORDS + FALSE_WORDS:
            raise ValueError(text)
        return text.lower() in TRUE_WORDS
    number = kind(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _items(value: Any, kind: Any) -> Sequence[Any]:
    """The items of a list, or of text like `[a,b]`, `(a,b)`, `a,b`; a last comma adds none."""
    if isinstance(value, (list, tuple)):
        return value
    if not isinstance(value, str):
        name = getattr(kind, "__name__", kind)
        raise ValueError(f"expected a list of {name}, such as [a,b], got {_shown(value)}")
    text = value.strip()
    if text and text[-1] == BRACKETS.get(text[0]):
        text = text[1:-1]
    items = [unquoted(item.strip()) for item in COMMA.split(text)]
    return items if items[-1] else items[:-1]


def _joined(value: Any) -> Any:
    """Names separated by commas, where a list of names was given."""
    bracketed = isinstance(value, str) and value[-1:] == BRACKETS.get(value[:1])
    if bracketed or isinstance(value, (list, tuple)):
        return ",".join(_scalar(item, str) for item in _items(value, str))
    return value


def _shown(value: Any) -> str:
    """The value for a message, shortened."""
    if isinstance(value, Mapping):
        return f"a section with the keys {reprlib.repr(list(value))}"
    if isinstance(value, (list, tuple)):
        return f"the list {reprlib.repr(list(value))}; text that begins so needs quotation marks"
    return reprlib.repr(value)
