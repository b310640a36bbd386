"""What counts as an instruction, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sam2act.core.instructions import (
    LanguageError,
    as_instruction,
    as_instructions,
    described,
)


@pytest.mark.parametrize(
    "value",
    ["öffne es", "öffne es".encode(), np.str_("öffne es"), np.bytes_("öffne es".encode())],
    ids=["str", "bytes", "numpy str", "numpy bytes"],
)
def test_texts_of_every_kind_are_read(value: Any) -> None:
    text = as_instruction(value)
    assert text == "öffne es" and type(text) is str


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "no word in it; write what is to be done"),
        (" \n", "no word in it"),
        ("...", "no word in it"),
        (None, "one text, got NoneType"),
        (5, "one text, got int '5'"),
        (["open"], "one text, got list"),
        (b"\xff\xfe", "not UTF-8"),
        ("open \udcff", "damaged"),
    ],
)
def test_the_rest_is_refused(value: Any, message: str) -> None:
    with pytest.raises(LanguageError, match=message):
        as_instruction(value)


def test_a_single_text_is_no_list() -> None:
    assert as_instructions(["open", b"close"]) == ["open", "close"]
    with pytest.raises(LanguageError, match="expected a list"):
        as_instructions("open")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (["open", "please open"], ("open", "please open")),
        ((b"open",), ("open",)),
        (np.array(["open", "please"]), ("open", "please")),
        (np.array([b"open"], object), ("open",)),
        (["open", None], ("open",)),
    ],
)
def test_descriptions_of_an_episode(content: Any, texts: tuple[str, ...]) -> None:
    assert described(content) == texts


@pytest.mark.parametrize("content", [[], "open", None, {}, [["open"]], [""], [None, "open"]])
def test_descriptions_without_a_first_instruction(content: Any) -> None:
    with pytest.raises(LanguageError):
        described(content)
