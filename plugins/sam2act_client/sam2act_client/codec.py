"""Messages as msgpack; arrays are maps of their bytes, type and shape."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np

ARRAY = "__ndarray__"
KINDS = "biuf"


def encode(message: Any) -> bytes:
    """The bytes of a message.

    Raises:
        TypeError: it holds something else than maps, lists, texts, numbers and arrays of numbers.
    """
    packed: bytes = msgpack.packb(message, default=_plain)
    return packed


def decode(content: bytes) -> Any:
    """The message of some bytes."""
    return msgpack.unpackb(content, object_hook=_array)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in KINDS:
        raise TypeError(f"{type(value).__name__} cannot be sent; send arrays of numbers")
    return {
        ARRAY: True,
        "data": value.tobytes(),
        "dtype": value.dtype.str,
        "shape": list(value.shape),
    }


def _array(told: dict[Any, Any]) -> Any:
    if ARRAY not in told:
        return told
    kind = np.dtype(told["dtype"])
    if kind.kind not in KINDS:
        raise ValueError(f"dtype {kind} is none of numbers")
    return np.frombuffer(told["data"], kind).reshape(told["shape"]).copy()
