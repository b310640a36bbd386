"""Messages with arrays: what survives, in both forms, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from sam2act.core.types import ContractError
from tests.serving.small_policies import grey, png

msgpack = pytest.importorskip("msgpack", reason="msgpack (extra serve) is not installed")
from sam2act.serving.codec import decode, encode  # noqa: E402

PIXELS = 10_000


@pytest.mark.parametrize("byte_keys", [False, True])
@pytest.mark.parametrize("dtype", ["<u1", "?", "<i8", "<f2", "<f4", ">f8"])
def test_arrays_survive_in_both_forms(byte_keys: bool, dtype: str) -> None:
    sent = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": [1, "two", None, np.float32(0.5)]}
    got = decode(encode(sent, byte_keys=byte_keys), PIXELS)
    np.testing.assert_array_equal(got["a"], sent["a"])
    assert got["a"].dtype == np.dtype(dtype).newbyteorder("=") and got["b"] == [1, "two", None, 0.5]


def test_scalars_and_compressed_pictures_are_read() -> None:
    told = {b"__npgeneric__": True, b"data": 3, b"dtype": "<i4"}
    image = {"__image__": True, "format": "png", "data": png(grey(7)), "shape": [8, 8, 3]}
    assert decode(msgpack.packb(told), PIXELS) == 3
    np.testing.assert_array_equal(decode(msgpack.packb(image), PIXELS), grey(7))


def array(**changed: Any) -> bytes:
    told = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2]}
    return msgpack.packb({**told, **changed})


HOSTILE = {
    "nothing": (b"", "no msgpack"),
    "noise": (b"\xc1\xff\x00", "no msgpack"),
    "cut off": (encode({"a": np.zeros(9)})[:-5], "no msgpack"),
    "two messages": (b"\x01\x02", "no msgpack"),
    "deep": (b"\x91" * 5000, "no msgpack"),
    "many maps": (b"\xdc\x27\x10" + b"\x80" * 10_000, "more than 2000 maps"),
    "a huge list that is not there": (b"\xdd\xff\xff\xff\xff", "no msgpack"),
    "a pickle": (array(data=pickle.dumps([1]), dtype="|O", shape=[1]), "only numbers"),
    "a record": (array(dtype="f4,f4"), "only numbers"),
    "complex numbers": (array(dtype="<c8", shape=[1]), "only numbers"),
    "a dtype that is none": (array(dtype=7), "only numbers"),
    "a size that does not fit": (array(shape=[2**62, 4]), "8 bytes for shape"),
    "a negative size": (array(shape=[-2, -1]), "whole numbers as shape"),
    "data that are none": (array(data="abc"), "expected bytes"),
    "an extension": (msgpack.packb(msgpack.ExtType(5, b"x")), "extension 5"),
    "a large picture": (
        msgpack.packb({"__image__": True, "format": "png", "data": png(grey(1, 200))}),
        "more than the limit",
    ),
    "a scalar that is none": (
        msgpack.packb({"__npgeneric__": True, "data": [1], "dtype": "<f4"}),
        "expected a number",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_messages_are_refused_with_a_reason(case: str) -> None:
    content, message = HOSTILE[case]
    with pytest.raises(ContractError, match=message):
        decode(content, PIXELS)
