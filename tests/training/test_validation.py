"""Validation: equal for any number of processes, and with more processes than samples."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from sam2act.core.errors import ConfigError
from sam2act.runtime.distributed import DistributedContext, choose_device, distributed_context
from sam2act.training.keyframe_means import KeyframeMeans, keyframe_columns
from sam2act.training.validation import validation_losses
from tests.training import tiny_run

MORE = "validation.split train validation.demo 1 validation.demo_start 2"
SAMPLES = 3  # held out: one per keyframe
RANKS = SAMPLES + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("validation")
    tiny_run.write_demos(folder)
    return folder


def losses(folder: Path, world: DistributedContext) -> dict[str, float]:
    trainer = tiny_run.build_trainer(folder, world, MORE)
    data = trainer.data
    means = KeyframeMeans(trainer.bundle.policy.sample_value_names, world.device)
    values = validation_losses(
        trainer.bundle.policy,
        data.validation,
        data.language,
        world,
        seed=0,
        autocast=trainer.updater.autocast,
        by_keyframe=means,
    )
    by_keyframe = keyframe_columns(means.read())
    assert len(by_keyframe) == SAMPLES
    return values | by_keyframe


def rank_main(rank: int, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(RANKS))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with distributed_context("cpu") as world:
        assert world.any(rank == RANKS - 1) and not world.any(False)
        torch.save(losses(folder, world), folder / f"losses_{rank}.pt")


def test_processes_without_samples_take_part(folder: Path) -> None:
    expected = losses(folder, DistributedContext(0, 1, torch.device("cpu")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(rank_main, args=(folder, port), nprocs=RANKS)
    for rank in range(RANKS):
        assert torch.load(folder / f"losses_{rank}.pt") == pytest.approx(expected, abs=1e-4)


def test_validation_repeats_itself_and_keeps_no_noise(folder: Path) -> None:
    world = DistributedContext(0, 1, torch.device("cpu"))
    assert losses(folder, world) == losses(folder, world)
    trainer = tiny_run.build_trainer(folder, world, MORE)
    network = trainer.bundle.policy.network
    network.config = dataclasses.replace(network.config, wpt_img_aug=0.2)  # training only
    values = [
        validation_losses(
            trainer.bundle.policy,
            trainer.data.validation,
            trainer.data.language,
            world,
            seed=0,
            autocast=trainer.updater.autocast,
        )
        for _ in range(2)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="--device"):
        choose_device(device)
