"""The instruction cache: encode once, never mix encoders, survive concurrent use."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2act.language.cache import LanguageCache, warn_of_equal
from sam2act.language.text_encoder import HashedTextEncoder, LanguageError


class _Counting(HashedTextEncoder):
    """Remembers what it was asked to encode."""

    def __init__(self, length: int = 3, width: int = 4) -> None:
        super().__init__(length, width)
        self.asked: list[str] = []

    def encode(self, texts) -> Tensor:
        self.asked += texts
        return super().encode(texts)


class _WithoutWeights:
    family = "hashed-v2"

    @property
    def name(self) -> str:
        raise LanguageError("weights are absent")

    def encode(self, texts) -> Tensor:
        raise LanguageError("weights are absent")


def test_each_text_is_encoded_once(tmp_path: Path) -> None:
    cache, encoder = LanguageCache(tmp_path / "sub" / "language.safetensors"), _Counting()
    first = cache.table(["open", "close", "open"], encoder)
    assert encoder.asked == ["open", "close"]
    second = LanguageCache(cache.path).table(["close", "turn", "open"], encoder)
    assert encoder.asked == ["open", "close", "turn"]
    assert torch.equal(first[0], first[2]) and torch.equal(first[1], second[0])
    assert torch.equal(second, HashedTextEncoder(3, 4).encode(["close", "turn", "open"]))
    cache.table(["turn"], encoder)
    assert encoder.asked == ["open", "close", "turn"]


def test_other_encoders_have_their_own_entries(tmp_path: Path) -> None:
    cache = LanguageCache(tmp_path / "language.safetensors")
    assert cache.table(["open"], _Counting(3, 4)).shape == (1, 3, 4)
    assert cache.table(["open"], _Counting(5, 6)).shape == (1, 5, 6)
    assert cache.table(["open"], _Counting(3, 4)).shape == (1, 3, 4)


def test_cached_texts_need_no_weights(tmp_path: Path, caplog) -> None:
    cache = LanguageCache(tmp_path / "language.safetensors")
    expected = cache.table(["open", "close"], _Counting())
    assert torch.equal(cache.table(["close"], _WithoutWeights())[0], expected[1])
    assert "without its weights" in caplog.text
    with pytest.raises(LanguageError, match="weights are absent"):
        cache.table(["open", "never seen"], _WithoutWeights())


def test_entries_of_an_older_rule_are_not_used(tmp_path: Path) -> None:
    """Features of version 1 of the hashed encoder, which did not see signs, stay where they are."""
    cache, encoder = LanguageCache(tmp_path / "language.safetensors"), _Counting()
    encoder.name = "hashed-v1-3x4"
    cache.table(["move +5 cm"], encoder)
    again = _Counting()
    cache.table(["move +5 cm"], again)
    assert again.name == "hashed-v2-3x4" and again.asked == ["move +5 cm"]


def test_equal_features_are_named(caplog) -> None:
    texts = ["open the drawer", "Open the drawer.", "close it", "open the drawer"]
    warn_of_equal(texts, HashedTextEncoder(4, 8).encode(texts))
    assert len(caplog.records) == 1
    assert "2 instructions get the same features" in caplog.text
    assert "'open the drawer', 'Open the drawer.'" in caplog.text and "close" not in caplog.text


def test_texts_are_checked_before_the_file_is_touched(tmp_path: Path) -> None:
    cache = LanguageCache(tmp_path / "language.safetensors")
    with pytest.raises(LanguageError, match="no word in it"):
        cache.table(["open", "  "], _Counting())
    assert not cache.path.exists()


def test_damaged_cache_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "language.safetensors"
    path.write_bytes(b"broken")
    with pytest.raises(LanguageError, match=r"language\.safetensors.*delete the file"):
        LanguageCache(path).table(["open"], _Counting())


def test_failed_encoding_leaves_the_file_alone(tmp_path: Path) -> None:
    class Failing(_Counting):
        def encode(self, texts) -> Tensor:
            raise RuntimeError("no memory")

    cache = LanguageCache(tmp_path / "language.safetensors")
    cache.table(["open"], _Counting())
    before = cache.path.read_bytes()
    with pytest.raises(RuntimeError):
        cache.table(["close"], Failing())
    assert cache.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [cache.path.name]


def _ask(path: Path, texts: list[str], results) -> None:
    table = LanguageCache(path).table(texts, HashedTextEncoder(3, 4))
    results.put(torch.equal(table, HashedTextEncoder(3, 4).encode(texts)))


def test_processes_may_use_one_file_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    path = tmp_path / "language.safetensors"
    texts = [f"instruction {i}" for i in range(20)]
    processes = [
        context.Process(target=_ask, args=(path, texts[i:] + texts[:i], results)) for i in range(4)
    ]
    for process in processes:
        process.start()
    assert all(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
