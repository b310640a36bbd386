"""Training across processes: gradients of two gloo ranks, kill and resume, Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from sam2act.core.errors import ConfigError
from sam2act.runtime.distributed import DistributedContext, distributed_context
from sam2act.training.trainer import Trainer
from tests.places import REPOSITORY
from tests.training import tiny_run

GLOBAL_BATCH = 4
PATIENCE = 120  # seconds to wait for a subprocess to get somewhere


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    tiny_run.write_demos(folder)
    return folder


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Gradients of the first batch with BatchNorm on its running statistics."""
    trainer.updater.module.train()
    trainer.bundle.policy.network.fine.head.norm.eval()
    batch = next(trainer.data.training(0, 1))
    trainer.updater.loss(batch, 0).total.backward()
    return {n: p.grad for n, p in trainer.bundle.policy.named_parameters() if p.requires_grad}


def rank_main(rank: int, folder: Path, port: int) -> None:
    """One of two gloo processes with half the batch."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with distributed_context("cpu") as world:
        trainer = tiny_run.build_trainer(folder, world, f"bs {GLOBAL_BATCH // 2}")
        torch.save(gradients(trainer), folder / f"gradients_{rank}.pt")


def test_two_processes_give_the_gradients_of_one(folder: Path) -> None:
    world = DistributedContext(rank=0, size=1, device=torch.device("cpu"))
    single = gradients(tiny_run.build_trainer(folder, world, f"bs {GLOBAL_BATCH}"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(rank_main, args=(folder, port), nprocs=2)
    first, second = (torch.load(folder / f"gradients_{rank}.pt") for rank in range(2))
    largest = max(float(gradient.abs().max()) for gradient in single.values())
    assert first.keys() == single.keys()
    for name, expected in single.items():
        assert torch.equal(first[name], second[name]), name
        assert float((first[name] - expected).abs().max()) <= 1e-5 * largest, name


def start(folder: Path, name: str, more: str = "") -> subprocess.Popen:
    """`python -m sam2act.train` in a process of its own."""
    command = [sys.executable, "-m", "sam2act.train"]
    command += tiny_run.arguments(folder, f"exp_name {name} {more}")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def wait_for(path: Path, process: subprocess.Popen, lines: int = 0) -> None:
    """Until `path` exists and has `lines` lines; fails if the process ends first."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or (lines and path.read_text().count("\n") < lines):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


def losses(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["step"]: row["total_loss"] for row in rows}


def test_resume_after_kill_continues_with_identical_losses(folder: Path) -> None:
    more = "train_iter 40 epochs 4"
    whole = start(folder, "whole", more)
    assert whole.wait(PATIENCE) == 0
    killed = start(folder, "killed", more)
    wait_for(tiny_run.run_folder(folder, "killed") / "model_0.pth", killed)
    killed.kill()
    killed.wait()
    assert not (tiny_run.run_folder(folder, "killed") / "model_3.pth").exists()
    assert start(folder, "killed", more).wait(PATIENCE) == 0
    assert losses(tiny_run.metrics(folder, "killed")) == losses(tiny_run.metrics(folder, "whole"))


def test_interrupt_saves_and_resumes_in_mid_epoch(folder: Path) -> None:
    more = "train_iter 200 epochs 1"
    process = start(folder, "interrupted", more)
    wait_for(tiny_run.run_folder(folder, "interrupted") / "metrics.csv", process, lines=3)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    run = tiny_run.run_folder(folder, "interrupted")
    saved = torch.load(run / "model_last.pth", weights_only=True)
    assert 0 < saved["extra"]["step"] < 50 and saved["epoch"] == -1
    assert start(folder, "interrupted", more).wait(PATIENCE) == 0
    steps = [int(row["step"]) for row in tiny_run.metrics(folder, "interrupted")]
    assert steps == list(range(1, 51))


def test_partial_torchrun_variables_are_refused(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="torchrun"), distributed_context("cpu"):
        pass
