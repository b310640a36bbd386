"""The experiment with masked agents of DMControl: do they withstand changed pictures?

    sam2act rl-experiment --describe
    sam2act rl-experiment                               # cartpole_swingup, plain and masked agent
    sam2act rl-experiment --agents plain masked svea --seeds 3 --minutes 60

Trains DrQ-v2 plain and with masked pictures (SAM-G), SVEA as well if asked, and evaluates each
agent on the original pictures and at the levels of the generalisation benchmark. Every agent and
seed is a cell of ordinary commands; --describe shows them. The defaults are those for two CPU
cores, 64 pixels and the masks of the simulator; --masks chooses others. Run it in the environment
of scripts/make_dmc_env.sh. The same command goes on after an interruption and repeats nothing that
is done; calls with --shard 0/2 and --shard 1/2 share the cells. The table is printed at the end.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sam2act.cli.arguments import ArgumentParser, positive_number
from sam2act.cli.cell_flags import (
    add_running_flags,
    check_minutes,
    deadline_after,
    tell_failures,
)
from sam2act.cli.report import aligned
from sam2act.cli.status import DONE, FAULT, run_command
from sam2act.config.load import load_network
from sam2act.core.errors import ConfigError, require_choice
from sam2act.envs.dmc.options import LEVELS
from sam2act.envs.registry import get_backend
from sam2act.experiments.online import AGENTS, OnlineCell, OnlineSettings, table
from sam2act.experiments.plan import describe
from sam2act.experiments.run import CellRunner, Share
from sam2act.policies.drq_v2.config import DrQv2Config

NETWORK = "configs/mvt/drq_v2_small.yaml"
SCHEDULE = "stddev_schedule linear(1.0,0.1,6000)"
EVALUATED = ("original", "color_hard", "video_hard")
MASKS = "--segmenter simulator"


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--task", default="cartpole_swingup", help="of DMControl (cartpole_swingup)")
    add("--agents", nargs="+", default=["plain", "masked"], help=f"of {', '.join(AGENTS)}")
    add("--seeds", type=positive_number, default=1, metavar="N", help="seeds 0 to N - 1 (1)")
    add("--levels", nargs="+", default=list(EVALUATED), help=f"({' '.join(EVALUATED)})")
    add("--episodes", type=positive_number, default=20, help="per level (20)")
    add("--frames", type=positive_number, default=100_000, help="of a training (100000)")
    add("--action-repeat", type=positive_number, default=8, help="frames per action (8)")
    add("--batch", type=positive_number, default=64, help="samples per update (64)")
    add("--mvt_cfg_path", default=NETWORK, help=f"yaml of the agent ({NETWORK})")
    add("--mvt_cfg_opts", default=SCHEDULE, help=f'keys of it ("{SCHEDULE}")')
    add("--masks", default=MASKS, help=f'flags of rl-train for masked agents ("{MASKS}")')
    add("--train-opts", default="", help="more flags of every rl-train")
    add("--output", type=Path, default=Path("rl_experiment"), help="folder of everything")
    add_running_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _experiment(args))


def _experiment(args: argparse.Namespace) -> int:
    cells = _cells(args)
    check_minutes(args.minutes)
    if args.describe:
        print(describe(cells, cells[0].output))
        return DONE
    deadline = deadline_after(args.minutes)
    code = CellRunner((args.shard or Share()).of(cells), deadline=deadline).run()
    print("\n" + aligned(["agent", *args.levels], table(cells)))
    failed = tell_failures(cells)
    return code or (FAULT if failed else DONE)


def _cells(args: argparse.Namespace) -> list[OnlineCell]:
    """What the flags ask for.

    Raises:
        ConfigError: a name is unknown, or the network does not learn by acting.
    """
    for agent in args.agents:
        require_choice("--agents", agent, tuple(AGENTS))
    for level in args.levels:
        require_choice("--levels", level, LEVELS)
    get_backend("dmc").check_task(args.task)
    network = load_network(args.mvt_cfg_path, args.mvt_cfg_opts)
    if not isinstance(network, DrQv2Config):
        raise ConfigError(f"--mvt_cfg_path: {network.policy} does not learn by acting")
    settings = OnlineSettings(
        output=args.output.resolve(),
        task=args.task,
        levels=tuple(args.levels),
        network=args.mvt_cfg_path,
        network_options=args.mvt_cfg_opts,
        image_size=network.image_size,
        frames=args.frames,
        action_repeat=args.action_repeat,
        batch=args.batch,
        episodes=args.episodes,
        masks=tuple(shlex.split(args.masks)),
        training_options=tuple(shlex.split(args.train_opts)),
    )
    return [
        OnlineCell(agent, seed, settings) for seed in range(args.seeds) for agent in args.agents
    ]


if __name__ == "__main__":
    sys.exit(main())
