"""The five steps of a training program, shared by both stages: read, join, build, load, run."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.policies.base import policy_class
from sam2act.policies.checkpoint import build_policy, read_checkpoint
from sam2act.policies.sam2act.config import NetworkConfig
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.distributed import DistributedContext, distributed_context
from sam2act.training.budget import autocast_dtype
from sam2act.training.run_data import build_training_data
from sam2act.training.run_log import RunLog, configure_console
from sam2act.training.start import (
    check_available,
    checkpoint_to_resume,
    describe_run,
    read_run_to_resume,
    resume_run,
    run_folder,
    start_policy,
    write_run_configs,
)
from sam2act.training.stores import DataOptions
from sam2act.training.trainer import Trainer

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """What distinguishes the two stages."""

    description: str
    number: int  # 1 or 2
    start: Callable[[argparse.Namespace, Trainer], None]  # weights of a run that is not resumed
    needs_pretrained_encoder: Callable[[argparse.Namespace], bool]
    checkpoint_prefix: str
    config_suffix: str


def run_stage(stage: Stage, args: argparse.Namespace) -> bool:
    """One training run from its command line; False if it was interrupted, with its state saved.

    Raises:
        UserError, OSError: what the user can mend.
    """
    experiment = load_experiment(args.exp_cfg_path, args.exp_cfg_opts, args.task_cfg_path)
    network = load_network(args.mvt_cfg_path, args.mvt_cfg_opts, args.task_cfg_path)
    policy_class(network).check_stage(stage.number, experiment, network)
    with distributed_context(args.device) as world:
        return _train(stage, args, experiment, network, world)


def _train(
    stage: Stage,
    args: argparse.Namespace,
    experiment: ExperimentConfig,
    network: NetworkConfig,
    world: DistributedContext,
) -> bool:
    """Build everything and train; False if the run was interrupted."""
    configure_console(world.rank)
    if world.device.type == "cpu":
        keep_freed_memory()
    folder = run_folder(args.log_dir, experiment)
    resume_from = checkpoint_to_resume(folder, experiment, stage.checkpoint_prefix)
    content = None
    if resume_from is not None:  # compared before anything is written
        content = read_run_to_resume(
            *(resume_from, folder, stage.checkpoint_prefix, experiment, network),
            processes=world.size,
            init_from=args.init_from,
        )
    elif args.init_from:  # looked at before a store is built, which can take hours
        read_checkpoint(args.init_from)
    check_available(experiment, network, world.device)
    dtype = autocast_dtype(experiment, world.device)
    bundle = build_policy(
        experiment,
        network,
        float16=dtype == torch.float16,
        pretrained=resume_from is None and stage.needs_pretrained_encoder(args),
        seed=experiment.seed,
    )
    options = DataOptions(args.refresh_replay, args.skip_bad_episodes)
    data = build_training_data(experiment, bundle.policy.spec, world, options)
    bundle.policy.to(world.device)
    trainer = Trainer(bundle, data, world, folder, dtype=dtype, prefix=stage.checkpoint_prefix)
    if resume_from is None or content is None:
        stage.start(args, trainer)
    else:
        resume_run(trainer, resume_from, content)
        del content
    start_policy(trainer, fresh=resume_from is None)
    if trainer.step >= trainer.plan.total_updates:
        LOGGER.info("nothing to do: %d updates are done already", trainer.step)
        return True
    _begin(stage, args, trainer, resumed=resume_from is not None)
    return _run(stage, trainer)


def _begin(stage: Stage, args: argparse.Namespace, trainer: Trainer, *, resumed: bool) -> None:
    """Say what will be trained, and write its configs: beside weights that others made only
    together with the first own ones."""
    if not trainer.world.is_main:
        return

    def write_configs() -> None:
        write_run_configs(trainer.folder, trainer.bundle, vars(args), stage.config_suffix)
        trainer.after_saving = lambda: None

    if resumed:
        trainer.after_saving = write_configs
    else:
        write_configs()
    describe_run(trainer)


def _run(stage: Stage, trainer: Trainer) -> bool:
    """Train with a log; False if the run was interrupted."""
    experiment, world = trainer.experiment, trainer.world
    log = RunLog(
        trainer.folder,
        rank=world.rank,
        resume_step=trainer.step + 1 if trainer.step else 0,
        wandb=experiment.wandb,
        project=experiment.exp_id,
        name=experiment.exp_name,
        config=to_dict(experiment),
        suffix=stage.config_suffix,
    )
    try:
        return trainer.run(log)
    finally:
        log.close()
