"""Train SAM2Act (stage 1).

    torchrun --nproc_per_node 8 train.py --exp_cfg_path configs/sam2act.yaml \\
        --mvt_cfg_path configs/mvt/sam2act.yaml
    python -m sam2act.train --exp_cfg_path configs/tiny.yaml --mvt_cfg_path configs/mvt/tiny.yaml

Running the same command again resumes. Ctrl-C saves before it ends.
"""

from __future__ import annotations

import argparse
import sys

import torch

from sam2act.config.load import load_experiment, load_network, to_dict
from sam2act.config.schema import ConfigError, ExperimentConfig, NetworkConfig
from sam2act.policy.checkpoint import build_policy
from sam2act.training.distributed import World, distributed_world
from sam2act.training.loop import Trainer
from sam2act.training.plan import autocast_dtype
from sam2act.training.run_log import RunLog, configure_console
from sam2act.training.setup import (
    USER_ERRORS,
    DataOptions,
    build_training_data,
    check_available,
    checkpoint_to_resume,
    continue_or_start,
    describe_run,
    run_folder,
    write_run_configs,
)

INTERRUPTED = 130  # exit status after Ctrl-C, as shells use it


def build_parser() -> argparse.ArgumentParser:
    """The published flags, and those this project adds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--exp_cfg_path", default="", help="yaml merged into the experiment defaults")
    add("--mvt_cfg_path", default="", help="yaml merged into the network defaults")
    add("--exp_cfg_opts", default="", help='"key value key value", e.g. "bs 4 peract.lr 1e-5"')
    add("--mvt_cfg_opts", default="", help="the same for the network config")
    add("--refresh_replay", action="store_true", help="build the frame stores anew")
    add("--log-dir", default="runs", help="parent of the run folder (default: runs)")
    add("--device", default="0", help="cpu or cuda:N; a bare number means automatic")
    add("--with-eval", action="store_true", help="accepted, without effect (as published)")
    add("--init-from", default="", help="start from the weights of this checkpoint")
    add("--skip-bad-episodes", action="store_true", help="leave out broken demos and list them")
    return parser


def check_stage_one(experiment: ExperimentConfig, network: NetworkConfig) -> None:
    """Raise `ConfigError` where a key belongs to the second stage."""
    if network.use_memory:
        raise ConfigError("use_memory: True is for the second stage; train.py trains without it")
    if experiment.peract.same_trans_aug_per_seq:
        raise ConfigError(
            "peract.same_trans_aug_per_seq: True is for windows of keyframes (second stage); "
            "train.py draws independent samples"
        )


def train(
    args: argparse.Namespace, experiment: ExperimentConfig, network: NetworkConfig, world: World
) -> bool:
    """One run; False if it was interrupted."""
    configure_console(world.rank)
    folder = run_folder(args.log_dir, experiment)
    resume_from = checkpoint_to_resume(folder, experiment, "model")
    check_available(experiment, network, world.device)
    dtype = autocast_dtype(experiment, world.device)
    fresh = resume_from is None and not args.init_from
    bundle = build_policy(
        experiment,
        network,
        float16=dtype == torch.float16,
        pretrained=fresh,
        seed=experiment.seed,
    )
    options = DataOptions(args.refresh_replay, args.skip_bad_episodes)
    data = build_training_data(experiment, network, world, options)
    bundle.policy.to(world.device)
    trainer = Trainer(bundle, data, world, folder, dtype=dtype)
    continue_or_start(trainer, resume_from, args.init_from)
    if world.is_main:
        write_run_configs(folder, bundle, vars(args))
        describe_run(trainer)
    log = RunLog(
        folder,
        rank=world.rank,
        resume_step=trainer.step + 1 if trainer.step else 0,
        wandb=experiment.wandb,
        project=experiment.exp_id,
        name=experiment.exp_name,
        config=to_dict(experiment),
    )
    try:
        return trainer.run(log)
    finally:
        log.close()


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    try:
        experiment = load_experiment(args.exp_cfg_path, args.exp_cfg_opts)
        network = load_network(args.mvt_cfg_path, args.mvt_cfg_opts)
        check_stage_one(experiment, network)
        device = "" if args.device.replace(",", "").isdigit() else args.device
        with distributed_world(device) as world:
            return 0 if train(args, experiment, network, world) else INTERRUPTED
    except USER_ERRORS as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
