"""The five steps of a training program, shared by both stages: read, join, build, load, run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from sam2act.config.component import PolicyConfig
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.core.run_folder import RunFolder
from sam2act.policies.base import policy_class
from sam2act.policies.checkpoint import build_policy, read_checkpoint
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.distributed import DistributedContext, distributed_context
from sam2act.training.budget import autocast_dtype
from sam2act.training.options import TrainingOptions
from sam2act.training.run_data import build_training_data
from sam2act.training.run_log import RunLog, configure_console
from sam2act.training.start import (
    checkpoint_to_resume,
    describe_run,
    needs_pretrained,
    read_run_to_resume,
    resume_run,
    run_files,
    start_run,
    write_run_configs,
)
from sam2act.training.stores import DataOptions
from sam2act.training.trainer import Trainer
from sam2act.training.update import shards

LOGGER = logging.getLogger(__name__)


def run_training(stage: int, options: TrainingOptions) -> bool:
    """One training run of stage 1 or 2; False if it was interrupted, with its state saved.

    Raises:
        UserError, OSError: what the user can mend.
    """
    task = options.task_file
    experiment = load_experiment(options.experiment_file, options.experiment_opts, task)
    network = load_network(options.network_file, options.network_opts, task)
    policy_class(network).check_stage(stage, experiment, network)
    with distributed_context(options.device) as world:
        configure_console(world.rank)
        if world.device.type == "cpu":
            keep_freed_memory()
        files = run_files(options.log_dir, experiment, stage)
        return _train(files, options, experiment, network, world)


def _train(
    files: RunFolder,
    options: TrainingOptions,
    experiment: ExperimentConfig,
    network: PolicyConfig,
    world: DistributedContext,
) -> bool:
    """Build everything and train; False if the run was interrupted."""
    resume_from = checkpoint_to_resume(files, experiment)
    content = _read(resume_from, files, options, experiment, network, world)
    policy_class(network).check_available(experiment, network, world.device)
    dtype = autocast_dtype(experiment, world.device)
    bundle = build_policy(
        experiment,
        network,
        float16=dtype == torch.float16,
        pretrained=resume_from is None and needs_pretrained(files.stage, options),
        seed=experiment.seed,
    )
    data_options = DataOptions(options.refresh_replay, options.skip_bad_episodes)
    transforms = bundle.transforms
    change = transforms.batch if transforms else None
    data = build_training_data(experiment, transforms.spec, world, data_options, change)
    if not shards(experiment, world):  # else it is moved part by part
        bundle.policy.to(world.device)
    trainer = Trainer(bundle, data, world, files, dtype=dtype)
    if resume_from is None or content is None:
        start_run(trainer, options)
    else:
        resume_run(trainer, resume_from, content)
        del content
    if transforms.needs_fit:
        transforms.fit_all(data.samples)
    trainer.updater.shard()
    bundle.policy.on_start(trainer.start_data(), fresh=resume_from is None)
    if trainer.finished:
        LOGGER.info("nothing to do: %d updates are done already", trainer.updater.state.step)
        _complete_costs(trainer)
        return True
    _begin(trainer, options, resumed=resume_from is not None)
    return _run(trainer)


def _complete_costs(trainer: Trainer) -> None:
    """Write the costs of a run that was stopped between its last checkpoint and them."""
    if not trainer.costs.knows(trainer.updater.state.step):
        trainer.costs.start(resumed=True)
        trainer.write_costs()


def _read(
    resume_from: Path | None,
    files: RunFolder,
    options: TrainingOptions,
    experiment: ExperimentConfig,
    network: PolicyConfig,
    world: DistributedContext,
) -> dict[str, Any] | None:
    """The checkpoint to continue from; read before anything is written or built.

    That of `init_from` is looked at, too: to build a store can take hours.
    """
    if resume_from is None:
        if options.init_from:
            read_checkpoint(options.init_from)
        return None
    return read_run_to_resume(
        *(resume_from, files, experiment, network),
        processes=world.size,
        init_from=options.init_from,
    )


def _begin(trainer: Trainer, options: TrainingOptions, *, resumed: bool) -> None:
    """Say what will be trained, and write its configs: beside weights that others made only
    together with the first own ones."""
    if not trainer.world.is_main:
        return

    def write_configs() -> None:
        write_run_configs(trainer.files, trainer.bundle, options)
        trainer.checkpointer.after_saving = lambda: None

    if resumed:
        trainer.checkpointer.after_saving = write_configs
    else:
        write_configs()
    describe_run(trainer)


def _run(trainer: Trainer) -> bool:
    """Train with a log; False if the run was interrupted."""
    experiment, step = trainer.experiment, trainer.updater.state.step
    log = RunLog(
        trainer.files,
        rank=trainer.world.rank,
        resume_step=step + 1 if step else 0,
        wandb=experiment.wandb,
        project=experiment.exp_id,
        name=experiment.exp_name,
        config=to_dict(experiment),
    )
    try:
        return trainer.run(log)
    finally:
        log.close()
