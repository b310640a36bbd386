#!/usr/bin/env python3
"""Train an agent by reinforcement learning from pixels: DrQ-v2, or SVEA by its key `algorithm`.

    sam2act rl-train --task cartpole_swingup
    sam2act rl-train --task walker_walk --use_SAM_g \
        --original_image walker_0.png --masked_image walker_masked_0.jpg

Writes runs/<task>_<name>/: train.csv (one row per episode), eval.csv, the replay buffer, and
model_last.pth, from which the same command goes on. With --use_SAM_g the agent sees masked pictures
alone; the masks follow one reference picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from sam2act.cli.arguments import ArgumentParser, add_device
from sam2act.cli.rl_common import add_environment, add_sam_g, environment, transforms_of
from sam2act.cli.status import DONE, INTERRUPTED, run_command
from sam2act.config.experiment import ExperimentConfig
from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError
from sam2act.core.run_folder import RunFolder
from sam2act.core.specs import CameraSpec, PolicySpec
from sam2act.envs.registry import env_spec, make_env
from sam2act.policies.checkpoint import PolicyBundle, build_policy, load_policy, read_checkpoint
from sam2act.policies.drq_v2.config import DrQv2Config
from sam2act.runtime.devices import choose_device
from sam2act.training.interrupts import StopRequest
from sam2act.training.online.loop import OnlineOptions, OnlineTrainer
from sam2act.training.run_log import configure_console

PRESET = "configs/mvt/drq_v2.yaml"


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add_environment(parser)
    add_sam_g(parser)
    add("--mvt_cfg_path", default=PRESET, help=f"yaml of the agent (default: {PRESET})")
    add("--mvt_cfg_opts", default="", help='"key value key value" for the agent')
    add("--name", default="drq_v2", help="the run folder is LOG_DIR/<task>_<name>")
    add("--log-dir", type=Path, default=Path("runs"), help="parent of it (default: runs)")
    for field in dataclasses.fields(OnlineOptions):
        if field.name != "action_repeat":
            flag = f"--{field.name.replace('_', '-')}"
            add(flag, type=type(field.default), default=field.default, help=f"({field.default})")
    add_device(parser, "cpu")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _train(args))


def _train(args: argparse.Namespace) -> int:
    configure_console(0)
    files = RunFolder(args.log_dir / f"{args.task}_{args.name}")
    bundle = _fresh(args, files)
    options = OnlineOptions(
        **{f.name: getattr(args, f.name) for f in dataclasses.fields(OnlineOptions)}
    )
    resumed = files.last.is_file()
    if resumed:
        bundle = load_policy(files.last)
    else:
        bundle.transforms.fit_all(lambda: [])
    config = environment(args, bundle.transforms.spec)
    env, evaluation_env = make_env(config), make_env(config)
    bundle.policy.to(choose_device(args.device))
    trainer = OnlineTrainer(bundle, env, evaluation_env, options, files)
    if resumed:
        trainer.resume(read_checkpoint(files.last)["extra"])
    with StopRequest().listening() as stop:
        return DONE if trainer.run(lambda: stop.requested) else INTERRUPTED


def _fresh(args: argparse.Namespace, files: RunFolder) -> PolicyBundle:
    """A new agent for the environment of the flags; nothing is started."""
    network = load_network(args.mvt_cfg_path, args.mvt_cfg_opts)
    if not isinstance(network, DrQv2Config):
        raise ConfigError(f"policy: {network.policy} does not learn by acting; take drq_v2")
    probe = PolicySpec((CameraSpec(network.camera, network.image_size, network.image_size),), None)
    (action,) = env_spec(environment(args, probe)).actions
    network = dataclasses.replace(network, action_size=action.size, action_rate=action.rate or 1.0)
    texts = transforms_of(args, network.camera, files.folder)
    experiment = ExperimentConfig(tasks=args.task, exp_name=args.name, transforms=texts)
    return build_policy(experiment, network, seed=args.seed)


if __name__ == "__main__":
    sys.exit(main())
