"""The command line that both stages of training share."""

from __future__ import annotations

import argparse

from sam2act.cli.arguments import ArgumentParser, add_device
from sam2act.cli.status import DONE, INTERRUPTED, run_command
from sam2act.training.options import TrainingOptions
from sam2act.training.run import run_training


def build_parser(description: str) -> argparse.ArgumentParser:
    """The published flags, and those this project adds."""
    parser = ArgumentParser(description=description)
    add = parser.add_argument
    add("--exp_cfg_path", default="", help="yaml merged into the experiment defaults")
    add("--mvt_cfg_path", default="", help="yaml merged into the network defaults")
    add("--task_cfg_path", default="", help="yaml with values of one task, merged after both")
    add("--exp_cfg_opts", default="", help='"key value key value", e.g. "bs 4 peract.lr 1e-5"')
    add("--mvt_cfg_opts", default="", help="the same for the network config")
    add("--refresh_replay", action="store_true", help="build the frame stores anew")
    add("--log-dir", default="runs", help="parent of the run folder (default: runs)")
    add_device(parser)
    add("--with-eval", action="store_true", help="accepted, without effect (as published)")
    add("--init-from", default="", help="start from the weights of this checkpoint")
    add("--skip-bad-episodes", action="store_true", help="leave out broken demos and list them")
    return parser


def train(stage: int, args: argparse.Namespace) -> int:
    """One training run; the exit status. A run that is interrupted has saved its state."""
    options = TrainingOptions(
        experiment_file=args.exp_cfg_path,
        network_file=args.mvt_cfg_path,
        task_file=args.task_cfg_path,
        experiment_opts=args.exp_cfg_opts,
        network_opts=args.mvt_cfg_opts,
        log_dir=args.log_dir,
        device=args.device,
        init_from=args.init_from,
        from_scratch=getattr(args, "from_scratch", False),
        refresh_replay=args.refresh_replay,
        skip_bad_episodes=args.skip_bad_episodes,
        arguments=vars(args),
    )
    return run_command(lambda: DONE if run_training(stage, options) else INTERRUPTED)
