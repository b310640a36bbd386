"""The device that `--device` means, with and without GPUs, in one process and in several."""

from __future__ import annotations

import logging

import pytest

from sam2act.core.errors import ConfigError
from sam2act.runtime.devices import choose_device


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)


@pytest.mark.parametrize(
    ("flag", "rank", "processes", "count", "device"),
    [
        ("cpu", 0, 1, 4, "cpu"),
        ("", 0, 1, 4, "cuda:0"),
        ("auto", 0, 1, 4, "cuda:0"),
        ("auto", 0, 1, 0, "cpu"),
        ("", 2, 8, 0, "cpu"),
        ("0", 0, 1, 4, "cuda:0"),
        ("3", 0, 1, 4, "cuda:3"),
        ("3", 0, 1, 0, "cpu"),
        ("3", 1, 8, 4, "cuda:1"),
        ("3", 5, 8, 4, "cuda:1"),
        ("0,1", 0, 1, 4, "cuda:0"),
        ("0,1", 1, 2, 4, "cuda:1"),
        ("0,1", 0, 1, 0, "cpu"),
        ("cuda", 2, 4, 4, "cuda:2"),
        ("cuda:1", 0, 1, 4, "cuda:1"),
    ],
)
def test_what_the_option_means(
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
    rank: int,
    processes: int,
    count: int,
    device: str,
) -> None:
    gpus(monkeypatch, count)
    assert str(choose_device(flag, rank, processes)) == device


@pytest.mark.parametrize(
    ("flag", "count"), [("gpu", 4), ("cuda", 0), ("cuda:4", 4), ("4", 4), ("-1", 4), ("0x", 0)]
)
def test_what_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, flag: str, count: int
) -> None:
    gpus(monkeypatch, count)
    with pytest.raises(ConfigError, match=f"--device {flag}: "):
        choose_device(flag)


@pytest.mark.parametrize(("flag", "rank", "lines"), [("1", 0, 1), ("1", 1, 0), ("auto", 0, 0)])
def test_a_number_without_gpus_is_one_line_of_log(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    flag: str,
    rank: int,
    lines: int,
) -> None:
    gpus(monkeypatch, 0)
    caplog.set_level(logging.INFO)
    choose_device(flag, rank, 2)
    assert len(caplog.records) == lines
    assert all(f"--device {flag}" in record.getMessage() for record in caplog.records)
