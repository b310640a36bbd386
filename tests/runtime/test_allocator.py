"""Freed memory stays in the process."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from sam2act.runtime.allocator import keep_freed_memory

BLOCK = 64 * 2**20 // 4  # floats in 64 MB
PAGE = resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_is_not_fetched_anew_for_every_block() -> None:
    if not keep_freed_memory():
        pytest.skip("another C library")
    for _ in range(24):  # until the process has grown
        torch.ones(BLOCK)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(BLOCK)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    pages = 8 * 4 * BLOCK // PAGE
    assert faults < pages / 2, "fetched anew, every page of the eight blocks would fault once"


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
