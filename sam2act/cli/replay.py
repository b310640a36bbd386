"""Replay scripted demonstrations frame by frame in the embedded simulator, in closed loop.

    sam2act replay --tasks memorybench open_drawer --control ee_pose --episodes 25

Each episode is recorded by the script, turned into one action per recorded frame (0.05 s) of the
control mode, and executed in the same scene. The table tells how many solve the task again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, positive_number
from sam2act.cli.status import DONE, run_command
from sam2act.data.rlbench.dense_actions import DENSE_CONTROLS
from sam2act.envs.base import EnvConfig, EnvError, ScriptError, scripted
from sam2act.envs.recording.dense_demos import Replay, replay
from sam2act.envs.registry import choose_tasks, make_env
from sam2act.envs.seeding import episode_seed, episode_variation


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", required=True, help=TASKS_HELP)
    parser.add_argument(
        "--control", nargs="+", choices=DENSE_CONTROLS, default=list(DENSE_CONTROLS),
        help="control modes (default: both)",
    )  # fmt: skip
    parser.add_argument("--episodes", type=positive_number, default=25, help="per task (25)")
    parser.add_argument("--seed", type=int, default=0, help="of the set of episodes (0)")
    return parser


def replay_task(
    task: str, controls: Sequence[str], episodes: int, seed: int
) -> dict[str, list[Replay]]:
    """Record `episodes` demonstrations of `task` and replay each under every control mode.

    An episode in which the script itself fails counts as not solved.
    """
    env = make_env(EnvConfig(task, cameras=()))
    expert = scripted(env, "backend embedded")
    results: dict[str, list[Replay]] = {control: [] for control in controls}
    for episode in tqdm(range(episodes), desc=task, unit="episode", leave=False):
        variation = episode_variation(seed, task, episode, env.variation_count())
        try:
            demo = expert.get_demo(variation, episode_seed(seed, task, episode), images="none")
        except ScriptError as error:
            for control in controls:
                results[control].append(Replay(success=False, steps=0, error=str(error)))
            continue
        for control in controls:
            results[control].append(replay(env, demo, control))
    env.close()
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status: 0 also where replays fail, as the table says."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _replay(args), (EnvError, ValueError))


def _replay(args: argparse.Namespace) -> int:
    tasks = choose_tasks(args.tasks)
    print(f"{'task':32}" + "".join(f"{control:>12}" for control in args.control))
    for task in tasks:
        results = replay_task(task, args.control, args.episodes, args.seed)
        solved = [sum(one.success for one in results[control]) for control in args.control]
        print(f"{task:32}" + "".join(f"{f'{n}/{args.episodes}':>12}" for n in solved))
        for control in args.control:
            print_failures(control, results[control])
    return DONE


def print_failures(control: str, results: Sequence[Replay]) -> None:
    """Name the episodes of a control mode that were not solved, and why, on standard error."""
    for episode, result in enumerate(results):
        if not result.success:
            reason = f"{result.error or 'not solved'} ({result.steps} steps)"
            print(f"  {control}, episode {episode}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
