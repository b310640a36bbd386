"""Starts a training run: checks, run folder, configs, weights to begin with, description."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import to_dict
from sam2act.config.tasks import run_name
from sam2act.core.errors import ConfigError
from sam2act.nn.attention import xformers_attention
from sam2act.policies.base import StartData
from sam2act.policies.checkpoint import CheckpointError, PolicyBundle, read_checkpoint, write_config
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.policies.sam2act.published_weights import LoadReport, WeightsError
from sam2act.processing.color_jitter import torchvision_functional
from sam2act.training.resume import (
    Difference,
    check_demonstrations,
    check_resume,
    check_stage_one,
    weights_differ_in,
)
from sam2act.training.trainer import Trainer

LOGGER = logging.getLogger(__name__)
PUBLISHED_PROCESSES, PUBLISHED_ROWS = 32, 8  # rows: of stage 1; one window in stage 2
PUBLISHED_WINDOWS = (8, 10)  # keyframes: the first version of reopen_drawer, all others


def check_available(
    experiment: ExperimentConfig, network: NetworkConfig, device: torch.device
) -> None:
    """Raise `ConfigError` where an option needs a package or a device that is not there."""
    if network.attention_backend == "xformers":
        xformers_attention()
        if device.type != "cuda":
            raise ConfigError(
                "attention_backend: xformers runs on CUDA devices only; set attention_backend: sdpa"
            )
    if experiment.peract.color_jitter:
        torchvision_functional()


def run_folder(log_dir: str, experiment: ExperimentConfig) -> Path:
    """`<log-dir>/<exp_id>_<exp_name>`."""
    return Path(log_dir) / run_name(experiment)


def write_run_configs(
    folder: Path, bundle: PolicyBundle, arguments: dict[str, object], suffix: str = ""
) -> None:
    """`exp_cfg.yaml`, `mvt_cfg.yaml` and `args.yaml` of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder / f"exp_cfg{suffix}.yaml", to_dict(bundle.experiment))
    write_config(folder / f"mvt_cfg{suffix}.yaml", to_dict(bundle.network))
    write_config(folder / f"args{suffix}.yaml", arguments)


def checkpoint_to_resume(folder: Path, experiment: ExperimentConfig, prefix: str) -> Path | None:
    """The file a run continues from: `resume`, else the last one of its folder."""
    return Path(experiment.resume) if experiment.resume else last_checkpoint(folder, prefix)


def last_checkpoint(folder: Path, prefix: str) -> Path | None:
    """`<prefix>_last.pth`, else `<prefix>_<epoch>.pth` of the last epoch, None without either."""
    last = folder / f"{prefix}_last.pth"
    if last.is_file():
        return last
    matches = (re.fullmatch(rf"{prefix}_(\d+)\.pth", path.name) for path in folder.glob("*.pth"))
    numbers = [int(match.group(1)) for match in matches if match]
    return folder / f"{prefix}_{max(numbers)}.pth" if numbers else None


def read_run_to_resume(
    path: Path,
    folder: Path,
    prefix: str,
    experiment: ExperimentConfig,
    network: NetworkConfig,
    *,
    processes: int,
    init_from: str = "",
) -> dict[str, Any]:
    """The content of the checkpoint `path`, after comparing its run with the request.

    Args:
        path: the checkpoint to continue from.
        folder: run folder; for a `path` elsewhere the run that lies here is compared, too.
        prefix: start of the checkpoint names.
        experiment: asked for now.
        network: asked for now.
        processes: that train now.
        init_from: file whose weights are asked for; "" = none.

    Raises:
        ConfigError: the request differs from that run in what may not change.
        CheckpointError: the file cannot be read.
    """
    compare = partial(
        check_resume,
        experiment=experiment,
        network=network,
        processes=processes,
        init_from=init_from,
    )
    content = read_checkpoint(path)
    changes = compare(path, content)
    present = last_checkpoint(folder, prefix)
    if present is not None and path.resolve().parent != folder.resolve():
        compare(present, read_checkpoint(present))
    if changes:
        LOGGER.info("%s: continues with %s", path, ", ".join(map(str, changes)))
    if any(change.key == "epochs" for change in changes) and experiment.peract.lr_cos_dec:
        LOGGER.info(
            "the learning rate follows the cosine of %d epochs from here on, not the old one",
            experiment.epochs,
        )
    return content


@contextmanager
def _naming(path: str | Path, remedy: str) -> Iterator[None]:
    """Adds the file to complaints about a checkpoint, and the remedy to those about weights."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(
            str(error) if str(path) in str(error) else f"{path}: {error}"
        ) from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {remedy}. {error}") from error


def resume_run(trainer: Trainer, path: Path, content: dict[str, Any]) -> None:
    """Continue a run from its checkpoint `path` with `content`."""
    LOGGER.info("resuming %s", path)
    check_demonstrations(path, content, trainer.data.fingerprints)
    with _naming(path, "use another exp_name, remove that run, or restore its configuration"):
        trainer.resume(content)


def start_from_weights(trainer: Trainer, path: Path) -> None:
    """Take only the weights of a checkpoint; what its run saw otherwise is logged."""
    content = read_checkpoint(path)
    with _naming(path, "its network configuration must equal that of this run"):
        report = trainer.start_from(content)
    _log_start(trainer, path, report, weights_differ_in(path, content, *_request(trainer)))


def start_stage_two(trainer: Trainer, path: Path, *, same_run: bool) -> None:
    """Take the weights of a stage-1 checkpoint; the memory starts fresh.

    Args:
        trainer: of stage 2.
        path: the checkpoint.
        same_run: the user did not name it, it is that of the run folder.

    Raises:
        ConfigError: the network, what it sees or (`same_run`) the tasks differ.
    """
    content = read_checkpoint(path)
    changes = check_stage_one(path, content, *_request(trainer), same_run=same_run)
    with _naming(path, "use the network values of stage 1"):
        report = trainer.start_from(content, stage_one=True)
    _log_start(trainer, path, report, changes, stage_one=True)


def _request(trainer: Trainer) -> tuple[ExperimentConfig, NetworkConfig]:
    return trainer.bundle.experiment, trainer.bundle.network


def _log_start(
    trainer: Trainer,
    path: Path,
    report: LoadReport,
    changes: list[Difference],
    *,
    stage_one: bool = False,
) -> None:
    trainer.started_from = str(path.resolve())
    LOGGER.info(
        "starting from %s%s: %s", "stage 1, " if stage_one else "the weights of ", path, report
    )
    if changes:
        LOGGER.warning("their run had other values: %s", ", ".join(map(str, changes)))


def start_policy(trainer: Trainer, *, fresh: bool) -> None:
    """Let the policy check and calibrate itself; see `Policy.on_start`."""
    world, data = trainer.world, trainer.data
    start = StartData(data.training, data.language, world.device, world.copy_from_main)
    trainer.bundle.policy.on_start(start, fresh=fresh)


def describe_run(trainer: Trainer) -> None:
    """Print what will be trained, and how far the batch is from the published one."""
    plan = trainer.plan
    for name, (total, trainable) in parameter_counts(trainer.bundle).items():
        LOGGER.info("%-24s %12s parameters, %12s trained", name, f"{total:,}", f"{trainable:,}")
    LOGGER.info(
        "%d epochs of %d updates, %d samples per update, learning rate %.3g",
        plan.epochs,
        plan.updates_per_epoch,
        plan.samples_per_update,
        max(trainer.schedule.base_lrs),
    )
    published = published_samples(trainer.bundle.network)
    if plan.samples_per_update != published:
        LOGGER.info(
            "the published run used %d samples per update; peract.lr is per sample, so the rate "
            "follows the batch",
            published,
        )


def published_samples(network: NetworkConfig) -> int:
    """Samples per update of the published run: 256, in stage 2 one window per process."""
    window = network.num_maskmem + 1
    rows = window if window in PUBLISHED_WINDOWS else PUBLISHED_WINDOWS[-1]
    return PUBLISHED_PROCESSES * (rows if network.use_memory else PUBLISHED_ROWS)


def parameter_counts(bundle: PolicyBundle) -> dict[str, tuple[int, int]]:
    """Parameters in all and trained, per component."""
    parts = bundle.policy.parts() | {"total": bundle.policy}
    return {
        name: (
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in parts.items()
    }
