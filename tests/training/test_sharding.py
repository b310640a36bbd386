"""Weights split over two gloo processes: losses, weights and files equal those of one process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from sam2act.cli import train
from sam2act.config.load import load_experiment
from sam2act.core.errors import ConfigError
from sam2act.core.types import Batch, LossOutput
from sam2act.policies.checkpoint import read_checkpoint
from sam2act.training.update import Updater
from tests.training import tiny_run

GLOBAL_BATCH = 4
NETWORK = (  # losses are means over all actions: the mean of two halves is that of the whole
    "image_side 16 backbone_width 8 condition_dim 8 dit_depth 1 dit_width 16 lang_len 4 lang_dim 8 "
    "mask_padding False"
)
SCALED = "\"normalise_actions('quantile')\""


def run(folder: Path, name: str, more: str) -> list[float]:
    """Two updates with CogACT's tiny form, the second one of a resumed run; their losses here."""
    losses = []
    update = Updater.update

    def recorded(updater: Updater, batches: Iterator[Batch]) -> LossOutput:
        output = update(updater, batches)
        losses.append(float(output.total))
        return output

    opts = tiny_run.experiment_opts(folder, f"{more} train_iter {GLOBAL_BATCH} exp_name {name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "update", recorded)
        for epochs in (1, 2):
            if "MASTER_PORT" in os.environ:
                os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
            arguments = [
                "--exp_cfg_path=configs/tiny_cogact.yaml",
                "--mvt_cfg_path=configs/mvt/tiny_cogact.yaml",
                f"--exp_cfg_opts={opts} epochs {epochs} transforms [{SCALED}]",
                f"--mvt_cfg_opts={NETWORK}",
                f"--log-dir={folder}/runs",
                "--device=cpu",
            ]
            assert train.main(arguments) == 0
    return losses


def rank_main(rank: int, folder: Path, port: int) -> None:
    """One of two processes with half the batch."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    losses = run(folder, "split", f"bs {GLOBAL_BATCH // 2} peract.sharding fsdp")
    torch.save(losses, folder / f"losses_{rank}.pt")


def test_two_processes_with_split_weights_equal_one(tmp_path: Path) -> None:
    tiny_run.write_demos(tmp_path, episodes=2, images="all")
    whole = run(tmp_path, "whole", f"bs {GLOBAL_BATCH}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(rank_main, args=(tmp_path, port), nprocs=2)
    parts = torch.tensor([torch.load(tmp_path / f"losses_{rank}.pt") for rank in range(2)])
    torch.testing.assert_close(parts.mean(0), torch.tensor(whole), rtol=1e-4, atol=1e-5)
    one, two = (
        read_checkpoint(tmp_path / "runs" / f"tiny_cogact_{name}" / "model_last.pth")
        for name in ("whole", "split")
    )
    assert (one["extra"]["step"], two["extra"]["step"]) == (2, 2)
    for first, second in (
        (one["model_state"], two["model_state"]),
        (one["extra"]["average"]["average"], two["extra"]["average"]["average"]),
        (moments(one), moments(two)),
    ):
        assert first.keys() == second.keys()
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-5)


def moments(content: dict) -> dict:
    return {n: x["exp_avg"] for n, x in content["optimizer_state"]["state"].items()}


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ("peract.optimizer_type lamb", "whose norms LAMB needs"),
        ("peract.amp True peract.amp_dtype float16", "amp_dtype to bfloat16"),
        ("peract.compile default", "compiles nothing"),
        ("validation.demo 2", "different numbers of held-out samples"),
    ],
)
def test_what_cannot_be_split(opts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment("configs/tiny_cogact.yaml", f"peract.sharding fsdp {opts}")
