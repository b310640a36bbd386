"""The run log: table, resume, ranks, optional services."""

from __future__ import annotations

import csv
import logging
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2act.core.run_folder import RunFolder
from sam2act.training import run_log
from sam2act.training.run_log import RunLog, as_numbers


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes tensorboard away: whether it is installed must not matter here."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def table(folder: Path) -> list[dict[str, str]]:
    with RunFolder(folder).metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_carry_step_and_values_and_new_names_extend_the_table(tmp_path: Path) -> None:
    log = RunLog(RunFolder(tmp_path))
    log.log(0, {"loss": torch.tensor(0.1, dtype=torch.float64)})
    log.log(100, {"loss": 0.5, "lr": 1e-5})
    log.close()
    assert table(tmp_path) == [
        {"step": "0", "loss": "0.1", "lr": ""},
        {"step": "100", "loss": "0.5", "lr": "1e-05"},
    ]


def test_resume_drops_rows_that_will_be_run_again(tmp_path: Path) -> None:
    log = RunLog(RunFolder(tmp_path))
    for step in (0, 100, 200, 300):
        log.log(step, {"loss": step})
    log.close()
    resumed = RunLog(RunFolder(tmp_path), resume_step=200)
    resumed.log(200, {"loss": -1.0})
    resumed.close()
    assert [(row["step"], row["loss"]) for row in table(tmp_path)] == [
        ("0", "0.0"),
        ("100", "100.0"),
        ("200", "-1.0"),
    ]
    RunLog(RunFolder(tmp_path)).close()
    assert table(tmp_path) == []


def test_torn_last_line_is_dropped(tmp_path: Path) -> None:
    log = RunLog(RunFolder(tmp_path))
    log.log(1, {"loss": 1.0})
    log.close()
    with RunFolder(tmp_path).metrics.open("a") as file:
        file.write("2,0.1")
    RunLog(RunFolder(tmp_path), resume_step=10).close()
    assert [row["step"] for row in table(tmp_path)] == ["1"]


def test_foreign_file_is_not_overwritten(tmp_path: Path) -> None:
    RunFolder(tmp_path).metrics.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="metrics.csv"):
        RunLog(RunFolder(tmp_path))
    assert RunFolder(tmp_path).metrics.read_text() == "a,b\n1,2\n"


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    log = RunLog(RunFolder(tmp_path / "run"), rank=1, wandb=True)
    log.log(0, {"loss": 1.0})
    log.message("text")
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_console_shows_figures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sam2act"):
        log = RunLog(RunFolder(tmp_path))
        log.log(7, {"total_loss": torch.tensor(0.25)})
        log.message("epoch 1")
        log.log(8, {"quiet": 1.0}, console=False)
        log.log(9, {"loss": 2.0}, details={"hidden": 3.0}, note="and a note")
    assert "step 7  total_loss 0.25" in caplog.text
    assert "epoch 1" in caplog.text
    assert "quiet" not in caplog.text
    assert "step 9  loss 2  and a note" in caplog.text and "hidden" not in caplog.text
    assert [row["hidden"] for row in table(tmp_path)] == ["", "", "3.0"]


def test_numbers_keep_order_and_type() -> None:
    numbers = as_numbers(
        {"b": torch.tensor([2.0]), "a": 1, "c": torch.tensor(3, dtype=torch.int32)}
    )
    assert list(numbers.items()) == [("b", 2.0), ("a", 1.0), ("c", 3.0)]


def test_missing_wandb_gives_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with caplog.at_level(logging.WARNING):
        log = RunLog(RunFolder(tmp_path), wandb=True)
        log.log(0, {"loss": 1.0})
        log.log(1, {"loss": 1.0})
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and ".[train]" in warnings[0].getMessage()
    assert len(table(tmp_path)) == 2


class FakeWandb(types.ModuleType):
    """Records what a run would send."""

    class Error(Exception):
        pass

    def __init__(self, fails: bool = False) -> None:
        super().__init__("wandb")
        self.fails, self.calls = fails, []  # type: ignore[var-annotated]

    def login(self) -> None:
        self.calls.append(("login",))

    def init(self, **options: Any) -> FakeWandb:
        if self.fails:
            raise self.Error("no key")
        self.calls.append(("init", options))
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append(("log", step, values))

    def finish(self) -> None:
        self.calls.append(("finish",))


def test_wandb_gets_project_name_config_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_API_KEY", "key")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = RunLog(RunFolder(tmp_path), wandb=True, project="id", name="name", config={"bs": 8})
    log.log(5, {"loss": torch.tensor(2.0)})
    log.close()
    options = {"project": "id", "name": "name", "config": {"bs": 8}, "dir": str(tmp_path)}
    assert fake.calls == [("init", options), ("log", 5, {"loss": 2.0}), ("finish",)]
    monkeypatch.setenv("WANDB_MODE", "online")
    RunLog(RunFolder(tmp_path), wandb=True)
    assert ("login",) in fake.calls


def test_wandb_that_cannot_start_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(fails=True))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    log = RunLog(RunFolder(tmp_path), wandb=True)
    log.log(0, {"loss": 1.0})
    assert "wandb did not start" in caplog.text
    assert len(table(tmp_path)) == 1


def test_tensorboard_is_used_where_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            seen.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            seen.append((name, value, step))

        def close(self) -> None:
            seen.append("closed")

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    log = RunLog(RunFolder(tmp_path), resume_step=3)
    log.log(3, {"loss": 1.5})
    log.close()
    assert seen == [(str(tmp_path), 3), ("loss", 1.5, 3), "closed"]


def test_console_configuration_is_idempotent(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger(run_log.PACKAGE_LOGGER)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = logger.level
    try:
        run_log.configure_console(0)
        run_log.configure_console(0)
        assert len(logger.handlers) == 1 and logger.level == logging.INFO
        run_log.configure_console(1)
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(level)
