#!/usr/bin/env python3
"""Evaluate an agent of rl-train: returns of whole episodes, at one or several levels.

    sam2act rl-eval --model_dir runs/cartpole_swingup_drq_v2 --domain_name cartpole \
        --task_name swingup --levels original color_hard video_hard

Pictures are masked if the agent was trained so. Adds a row per level to returns.csv of the folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sam2act.cli.arguments import ArgumentParser, add_device, positive_number
from sam2act.cli.rl_common import add_environment, environment
from sam2act.cli.status import DONE, run_command
from sam2act.core.errors import ConfigError
from sam2act.core.files import append_line
from sam2act.core.run_folder import RunFolder
from sam2act.envs.registry import make_env
from sam2act.policies.checkpoint import load_policy
from sam2act.runtime.devices import choose_device
from sam2act.training.online.episodes import episode_returns

HEADER = "task,level,episodes,mean,spread,updates\n"


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add_environment(parser, needs_task=False)
    add("--model_dir", type=Path, required=True, help="run folder of rl-train")
    add("--domain_name", default="", help="with --task_name, instead of --task")
    add("--task_name", default="", help="with --domain_name, instead of --task")
    add("--levels", nargs="+", default=[], help="several levels (default: --level)")
    add("--episodes", type=positive_number, default=100, help="of each level (default: 100)")
    add("--resume", action="store_true", help="leave out levels with such a row in returns.csv")
    add("--seed", type=int, default=1_000_000, help="of the first episode")
    add_device(parser, "cpu")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _evaluate(args))


def _evaluate(args: argparse.Namespace) -> int:
    bundle = load_policy(RunFolder(args.model_dir).last, device=choose_device(args.device))
    if args.domain_name and args.task_name:
        args.task = f"{args.domain_name}_{args.task_name}"
    args.task = args.task or bundle.experiment.tasks
    if not args.task:
        raise ConfigError("--task: name one, or --domain_name and --task_name")
    table = args.model_dir / "returns.csv"
    known = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    for level in args.levels or [args.level]:
        args.level = level
        begin, end = f"{args.task},{level},{args.episodes},", f",{bundle.step}"
        if args.resume and any(r.startswith(begin) and r.endswith(end) for r in known):
            print(f"{args.task} {level}: evaluated already")
            continue
        env = make_env(environment(args, bundle.transforms.spec))
        returns = episode_returns(bundle, env, args.episodes, args.seed)
        env.close()
        mean, spread = float(np.mean(returns)), float(np.std(returns))
        row = f"{args.task},{level},{len(returns)},{mean:.1f},{spread:.1f},{bundle.step}\n"
        append_line(table, row, HEADER)
        print(f"{args.task} {level}: {mean:.1f} +- {spread:.1f} ({len(returns)} episodes)")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
