"""Messages with arrays as bytes: msgpack in the forms of openpi and of vla-eval, both read.

An array is a map that holds its bytes, type and shape, under keys that are bytes (openpi) or texts
(vla-eval, ours). No pickle, no object, no structured type is ever made of what comes in, and what
it may take of memory is bounded by its own size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from sam2act.core.types import ContractError
from sam2act.serving.pictures import pixels

MOST_PARTS = 2_000  # maps and lists of one message
LONGEST = 10_000  # entries of one of them
NUMBERS = re.compile(r"[<>|=]?[biufc?][0-9]*\Z")  # how numpy may write a type of numbers
KINDS = "biuf"
ARRAY, GENERIC, IMAGE = "__ndarray__", "__npgeneric__", "__image__"


def encode(value: Any, *, byte_keys: bool = False) -> bytes:
    """The bytes of a message.

    Args:
        value: maps, lists, texts, bytes, numbers, and arrays or numbers of numpy.
        byte_keys: write arrays as openpi does.
    """

    def plain(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            told = {
                ARRAY: True,
                "data": item.tobytes(),
                "dtype": item.dtype.str,
                "shape": list(item.shape),
            }
            return {key.encode(): part for key, part in told.items()} if byte_keys else told
        if isinstance(item, np.generic):
            return item.item()
        raise TypeError(f"{type(item).__name__} cannot be sent")

    packed: bytes = msgpack.packb(value, default=plain)
    return packed


def decode(content: bytes, most_pixels: int) -> Any:
    """The message of some bytes.

    Args:
        content: one message.
        most_pixels: of a compressed picture in it.

    Raises:
        ContractError: they are none, or hold what no message may hold.
    """
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1
        if count > MOST_PARTS:
            raise ContractError(f"message: more than {MOST_PARTS} maps and lists")

    def of_map(told: dict[Any, Any]) -> Any:
        counted()
        plain = {
            key.decode("utf-8", "replace") if isinstance(key, bytes) else key: value
            for key, value in told.items()
        }
        if ARRAY in plain:
            return _array(plain)
        if GENERIC in plain:
            return _number(plain)
        return _picture(plain, most_pixels) if IMAGE in plain else plain

    def of_list(told: list[Any]) -> Any:
        counted()
        return told

    try:
        return msgpack.unpackb(
            content,
            object_hook=of_map,
            list_hook=of_list,
            ext_hook=_no_extension,
            max_array_len=LONGEST,
            max_map_len=LONGEST,
        )
    except ContractError:
        raise
    except Exception as error:  # msgpack raises many kinds
        raise ContractError(
            f"message: {len(content)} bytes that are no msgpack ({type(error).__name__})"
        ) from error


def _no_extension(code: int, data: bytes) -> Any:
    raise ContractError(f"message: msgpack's extension {code} is not understood")


def _type(told: Mapping[str, Any]) -> np.dtype[Any]:
    text = told.get("dtype")
    kind: np.dtype[Any] | None = None
    if isinstance(text, str) and NUMBERS.match(text):
        try:
            kind = np.dtype(text)
        except TypeError:
            kind = None
    if kind is None or kind.kind not in KINDS:
        raise ContractError(f"array: dtype {text!r:.50}; only numbers may be sent")
    return kind


def _array(told: Mapping[str, Any]) -> np.ndarray:
    """(shape) in the byte order of this machine, over a copy of its bytes."""
    kind, data, shape = _type(told), told.get("data"), told.get("shape")
    sides = isinstance(shape, list) and all(
        isinstance(side, int) and not isinstance(side, bool) and side >= 0 for side in shape
    )
    if not isinstance(data, bytes) or not sides or not isinstance(shape, list) or len(shape) > 8:
        raise ContractError("array: expected bytes as data and up to 8 whole numbers as shape")
    if math.prod(shape) * kind.itemsize != len(data):
        raise ContractError(
            f"array: {len(data)} bytes for shape {tuple(shape)} of {kind}, which takes "
            f"{math.prod(shape) * kind.itemsize}"
        )
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


def _number(told: Mapping[str, Any]) -> Any:
    value = told.get("data")
    if not isinstance(value, (bool, int, float)):
        raise ContractError("number: expected a number as data")
    try:
        return _type(told).type(value).item()
    except OverflowError as error:
        raise ContractError(f"number: {value} does not fit its dtype") from error


def _picture(told: Mapping[str, Any], most_pixels: int) -> np.ndarray:
    if told.get("format") == "raw":
        return _array(told)
    data = told.get("data")
    if not isinstance(data, bytes):
        raise ContractError("image: expected the bytes of a file as data")
    return pixels(data, most_pixels)
