"""A training run small enough for unit tests: two cameras of 16 pixels, a 32-pixel network."""

from __future__ import annotations

import csv
from pathlib import Path

from sam2act.cli import train
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_experiment, load_network
from sam2act.core.run_folder import RunFolder
from sam2act.policies.checkpoint import PolicyBundle, build_policy
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.runtime.distributed import DistributedContext
from sam2act.training.run_data import build_training_data
from sam2act.training.stores import DataOptions
from sam2act.training.trainer import Trainer
from tests.data.synthetic_demos import write_synthetic_task

NETWORK_OPTS = (
    "depth 2 img_size 32 img_patch_size 8 attn_dim 16 attn_heads 2 attn_dim_head 8 "
    "im_channels 16 lang_len 4 lang_dim 8 data.points 0 renderer.radius 0.1 head_hidden [16,16]"
)
EXPERIMENT_OPTS = "cameras [front,wrist] image_size 16 demo 2 bs 4 train_iter 12 log_every 1 "
EXPERIMENT_OPTS += "exp_name test peract.warmup_steps 2 peract.lr 2.5e-4"


def experiment_opts(folder: Path, more: str = "") -> str:
    """Options of the tiny run with its demos and stores below `folder`."""
    return f"{EXPERIMENT_OPTS} data_folder {folder}/demos store_folder {folder}/store {more}"


def write_demos(folder: Path, **options) -> None:
    """Synthetic demos for the tiny run."""
    write_synthetic_task(folder / "demos", **{"episodes": 3, **options})


def arguments(folder: Path, more: str = "", network: str = "") -> list[str]:
    """Command line of `train.py` for the tiny run."""
    return [
        "--exp_cfg_path=configs/tiny.yaml",
        "--mvt_cfg_path=configs/mvt/tiny.yaml",
        f"--exp_cfg_opts={experiment_opts(folder, more)}",
        f"--mvt_cfg_opts={NETWORK_OPTS} {network}",
        f"--log-dir={folder}/runs",
        "--device=cpu",
    ]


def run(folder: Path, more: str = "", network: str = "", flags: tuple[str, ...] = ()) -> int:
    """Train in this process; the exit status."""
    return train.main([*arguments(folder, more, network), *flags])


def run_folder(folder: Path, name: str = "test") -> Path:
    """Where the tiny run writes."""
    return folder / "runs" / f"tiny_{name}"


def metrics(folder: Path, name: str = "test") -> list[dict[str, str]]:
    """Rows of the log, without the columns that depend on the clock."""
    with open(run_folder(folder, name) / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.pop("samples_per_second")
    return rows


def configs(
    folder: Path, more: str = "", network: str = ""
) -> tuple[ExperimentConfig, NetworkConfig]:
    """Both configs of the tiny run."""
    experiment = load_experiment("configs/tiny.yaml", experiment_opts(folder, more))
    return experiment, load_network("configs/mvt/tiny.yaml", f"{NETWORK_OPTS} {network}")


def build_bundle(folder: Path, more: str = "", network: str = "") -> PolicyBundle:
    """A policy with fresh weights."""
    return build_policy(*configs(folder, more, network), seed=0)


def build_trainer(
    folder: Path,
    world: DistributedContext,
    more: str = "",
    network: str = "",
    log_dir: Path | None = None,
) -> Trainer:
    """A trainer of the tiny run; its checkpoints go to `log_dir`."""
    bundle = build_bundle(folder, more, network)
    spec = bundle.policy.spec
    data = build_training_data(bundle.experiment, spec, world, DataOptions())
    return Trainer(bundle, data, world, RunFolder(log_dir or folder / "runs"))
