"""Starts a training run: run folder, configs, weights to begin with, description."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import to_dict
from sam2act.config.tasks import run_name
from sam2act.core.run_folder import RunFolder
from sam2act.core.weight_names import LoadReport, WeightsError
from sam2act.policies.checkpoint import CheckpointError, PolicyBundle, read_checkpoint, write_config
from sam2act.training.costs import parameter_counts
from sam2act.training.ema import LARGEST_SHARE, share_of_start
from sam2act.training.options import TrainingOptions
from sam2act.training.resume import (
    Difference,
    check_demonstrations,
    check_earlier_stage,
    check_resume,
    check_stage_of,
    weights_differ_in,
)
from sam2act.training.trainer import Trainer

LOGGER = logging.getLogger(__name__)


def run_files(log_dir: str | Path, experiment: ExperimentConfig, stage: int = 1) -> RunFolder:
    """The files of a stage in `<log-dir>/<exp_id>_<exp_name>`."""
    return RunFolder(Path(log_dir) / run_name(experiment), stage)


def write_run_configs(files: RunFolder, bundle: PolicyBundle, options: TrainingOptions) -> None:
    """Write both configs and the arguments of a run."""
    files.folder.mkdir(parents=True, exist_ok=True)
    write_config(files.experiment, to_dict(bundle.experiment))
    write_config(files.network, to_dict(bundle.network))
    write_config(files.arguments, options.arguments)


def checkpoint_to_resume(files: RunFolder, experiment: ExperimentConfig) -> Path | None:
    """The file a run continues from: `resume`, else the last one of its folder."""
    return Path(experiment.resume) if experiment.resume else files.newest()


def read_run_to_resume(
    path: Path,
    files: RunFolder,
    experiment: ExperimentConfig,
    network: PolicyConfig,
    *,
    processes: int,
    init_from: str = "",
) -> dict[str, Any]:
    """The content of the checkpoint `path`, after comparing its run with the request.

    Args:
        path: the checkpoint to continue from.
        files: of the run; for a `path` elsewhere the run that lies here is compared, too.
        experiment: asked for now.
        network: asked for now.
        processes: that train now.
        init_from: file whose weights are asked for; "" = none.

    Raises:
        ConfigError: another stage wrote it, or the request differs from that run in what may not
            change.
        CheckpointError: the file cannot be read.
    """
    content = read_checkpoint(path)
    check_stage_of(path, content, files.stage)
    compare = partial(
        check_resume,
        experiment=experiment,
        network=network,
        processes=processes,
        init_from=init_from,
    )
    changes = compare(path, content)
    present = files.newest()
    if present is not None and path.resolve().parent != files.folder.resolve():
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
        trainer.checkpointer.resume(content)


def needs_pretrained(stage: int, options: TrainingOptions) -> bool:
    """Whether a new run starts from no checkpoint, so that public weights are read."""
    return options.from_scratch if stage > 1 else not options.init_from


def start_run(trainer: Trainer, options: TrainingOptions) -> None:
    """The weights of a new run: those that the options name, or the fresh ones.

    A later stage starts from the stage before: the file of `init_from`, else the last checkpoint
    of that stage in the run folder.

    Raises:
        CheckpointError: there is no such file.
        ConfigError, WeightsError: it does not fit.
    """
    files = trainer.files
    if files.stage == 1:
        if options.init_from:
            start_from_weights(trainer, Path(options.init_from))
        return
    earlier = Path(options.init_from or RunFolder(files.folder, files.stage - 1).last)
    if options.init_from or earlier.is_file():
        start_from_earlier_stage(trainer, earlier, same_run=not options.init_from)
    elif not options.from_scratch:
        raise CheckpointError(
            f"no stage-1 checkpoint {earlier}; train stage 1 with the same exp_id and exp_name, "
            "name one with --init-from, or pass --from-scratch to do without"
        )


def start_from_weights(trainer: Trainer, path: Path) -> None:
    """Take only the weights of a checkpoint; what its run saw otherwise is logged."""
    content = read_checkpoint(path)
    with _naming(path, "its network configuration must equal that of this run"):
        report = trainer.checkpointer.start_from(content)
    _log_start(trainer, path, report, weights_differ_in(path, content, *_request(trainer)))


def start_from_earlier_stage(trainer: Trainer, path: Path, *, same_run: bool) -> None:
    """Take the weights of a checkpoint of stage 1; what only this stage has starts fresh.

    Args:
        trainer: of stage 2.
        path: the checkpoint.
        same_run: the user did not name it, it is that of the run folder.

    Raises:
        ConfigError: the network, what it sees or (`same_run`) the tasks differ.
    """
    content = read_checkpoint(path)
    changes = check_earlier_stage(path, content, *_request(trainer), same_run=same_run)
    with _naming(path, "use the network values of stage 1"):
        report = trainer.checkpointer.start_from(content, earlier_stage=True)
    _log_start(trainer, path, report, changes, whose="stage 1, ")


def _request(trainer: Trainer) -> tuple[ExperimentConfig, PolicyConfig]:
    return trainer.bundle.experiment, trainer.bundle.network


def _log_start(
    trainer: Trainer,
    path: Path,
    report: LoadReport,
    changes: list[Difference],
    *,
    whose: str = "the weights of ",
) -> None:
    trainer.updater.state.started_from = str(path.resolve())
    LOGGER.info("starting from %s%s: %s", whose, path, report)
    if changes:
        LOGGER.warning("their run had other values: %s", ", ".join(map(str, changes)))


def describe_run(trainer: Trainer) -> None:
    """Print what will be trained, and how far the batch is from the published one."""
    budget, policy = trainer.updater.budget, trainer.bundle.policy
    for name, (total, trainable) in parameter_counts(policy).items():
        LOGGER.info("%-24s %12s parameters, %12s trained", name, f"{total:,}", f"{trainable:,}")
    LOGGER.info(
        "%d epochs of %d updates, %d samples per update, learning rate %.3g",
        budget.epochs,
        budget.updates_per_epoch,
        budget.samples_per_update,
        max(trainer.updater.schedule.base_lrs),
    )
    published = policy.published_samples
    if published is not None and budget.samples_per_update != published:
        LOGGER.info(
            "the published run used %d samples per update; peract.lr is per sample, so the rate "
            "follows the batch",
            published,
        )
    _warn_of_first_weights(trainer)


def _warn_of_first_weights(trainer: Trainer) -> None:
    """Averaged weights act after training; much of the first ones in them spoils the policy."""
    values, updates = trainer.experiment.peract, trainer.updater.budget.total_updates
    share = share_of_start(updates, values.ema, values.ema_power) if values.ema else 0.0
    if share > LARGEST_SHARE:
        LOGGER.warning(
            "peract.ema %g: after %d updates the averaged weights, which act, are still %.0f %% "
            "those at the start; set peract.ema_power 0.75, or train longer",
            values.ema,
            updates,
            100 * share,
        )
