"""Evaluate checkpoints in closed loop, in the embedded simulator or in RLBench.

    sam2act eval --model-folder runs/x --model-name model_last.pth \\
        --eval-datafolder data/test --tasks put_block_back --eval-episodes 25 --headless
    sam2act eval --model-folder runs/x --model-name model_plus_last.pth \\
        --tasks put_block_back --eval-episodes 40 --backend embedded --seed 7000 --workers 2
    sam2act eval --model-folder runs/x --ground-truth --eval-datafolder data/test \\
        --tasks put_block_back

Scenes come from recorded demos (their stored state only; images are never read) or, with --seed,
are new ones. Results: <model-folder>/eval/<log-name>/<checkpoint>/ with one row per episode,
written as soon as it ends; --resume continues. `sam2act report` makes a page of them. Under
torchrun the episodes are shared out over all processes. The status is 0 if all is done, 1 if the
simulator lost episodes, which --resume runs again, 2 if there is something for you to mend.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, add_device
from sam2act.cli.status import DONE, FAULT, run_command
from sam2act.core.registry import ENVS
from sam2act.evaluation.environment import DEFAULTS, SWITCHES
from sam2act.evaluation.options import AUTO, EvaluationOptions, OptionError
from sam2act.evaluation.results import EpisodeRow
from sam2act.evaluation.run import evaluate
from sam2act.runtime.allocator import keep_freed_memory
from sam2act.runtime.distributed import distributed_context
from sam2act.training.run_log import configure_console


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is less than {least}")
    return value


def _positive(text: str) -> int:
    return _at_least(1, text)


def _natural(text: str) -> int:
    return _at_least(0, text)


def _factor(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return value


def build_parser() -> argparse.ArgumentParser:
    """The published flags, and those this project adds."""
    parser = ArgumentParser(description=__doc__)
    _add_model_flags(parser.add_argument_group("what is evaluated"))
    _add_episode_flags(parser.add_argument_group("on which episodes"))
    _add_environment_flags(parser.add_argument_group("in which environment"))
    _add_running_flags(parser.add_argument_group("how it runs"))
    return parser


def _add_environment_flags(group: argparse._ArgumentGroup) -> None:
    """`--<name>` and `--no-<name>` for every switch, and the others in one flag."""
    for name, (default, text) in SWITCHES.items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            action=argparse.BooleanOptionalAction,
            default=default,
            help=f"{text} (default: {'yes' if default else 'no'})",
        )
    group.add_argument(
        "--env-opts",
        default="",
        metavar="OPTS",
        help="further options of the simulator, as `key value key value`",
    )


def _add_model_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--model-folder", type=Path, help="run folder with checkpoints; results go to its eval/")
    add(
        "--model-name",
        nargs="+",
        default=[],
        help="checkpoint files in it, patterns such as 'model_plus_*.pth', or all; of several, "
        "the one with the highest mean success is named at the end",
    )
    add("--exp_cfg_path", default="", help="yaml that replaces the experiment config of the run")
    add("--exp_cfg_opts", default="", help='changes of it, e.g. "eval.precision bfloat16"')
    add("--mvt_cfg_path", default="", help="yaml that replaces the network config of the run")
    add(
        "--ground-truth",
        action="store_true",
        help="replay the demos' keyframes, decoded as the policy's outputs are; no checkpoint",
    )
    add(
        "--executor",
        default="",
        help="which actions of predicted sequences are executed: single, open_loop(k=4), "
        "adaptive_ensemble(7, alpha=0.1) or moving_average(3) (default: as the policy says)",
    )
    add(
        "--log-name",
        default="none",
        help="folder of the results below eval/ (default: `none`)",
    )
    add(
        "--use-input-place-with-mean",
        action="store_true",
        help="as --exp_cfg_opts 'eval.place_with_mean trained'; no effect on networks with a zoom",
    )
    add("--peract_official", action="store_true", help="not supported")
    add("--peract_model_dir", default="", help="not supported")


def _add_episode_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--tasks",
        nargs="+",
        default=["insert_onto_square_peg"],
        help=f"{TASKS_HELP} (default: insert_onto_square_peg)",
    )
    add(
        "--eval-datafolder",
        type=Path,
        default=Path("data/val"),
        help="demos of a split: <task>/all_variations/episodes/episode<N> (default: data/val)",
    )
    add("--start-episode", type=_natural, default=0, help="first episode (0)")
    add("--eval-episodes", type=_positive, default=10, help="episodes per task (10)")
    add(
        "--episode-length",
        type=_positive,
        help="most steps per episode (default: 25 keyframes; under other control modes what the "
        "simulator says, else 400)",
    )
    add(
        "--demo-lengths",
        type=_factor,
        default=0,
        metavar="X",
        help="most steps per episode under other control modes than keyframes: X times the frames "
        "of the longest demo of these tasks in --eval-datafolder, also with --seed",
    )
    add("--seed", type=_natural, help="new scenes, those of this seed, in place of demos")
    add(
        "--wording",
        type=_natural,
        default=0,
        metavar="N",
        help="tell the policy instruction N of each episode; 0, the first, is the one that demos "
        "are trained with (0)",
    )
    add(
        "--repeats",
        type=_positive,
        default=1,
        help="evaluate N times, into <log-name>/1 ... <log-name>/N; with --seed S on the scenes "
        "of seeds S, S + 1, ...",
    )
    add(
        "--perturb",
        nargs="+",
        default=[],
        metavar="FACTOR",
        help="perturb the scenes (embedded): factors, `all` (The Colosseum's) or `extra` (others)",
    )
    add("--skip-bad-episodes", action="store_true", help="leave out broken demos and list them")


def _add_running_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--backend",
        choices=(AUTO, *ENVS.names()),
        default=AUTO,
        help="auto: the simulator in which the demos were recorded",
    )
    add("--headless", action="store_true", help="RLBench without a window")
    add(
        "--workers",
        type=_natural,
        default=0,
        help="simulator processes (default: one per core, at most 4 or the batch; rlbench: 1)",
    )
    add(
        "--batch-size",
        type=_natural,
        default=0,
        help="rows of a forward pass (default: 1 on a CPU, 8 on a GPU). Results depend on it in "
        "the last bits, but not on --workers",
    )
    add_device(group)
    add(
        "--time-limit",
        type=_positive,
        default=300,
        help="seconds of simulation per episode, after which the simulator counts as hung (300)",
    )
    add(
        "--measure-latency",
        action="store_true",
        help="time ten forward passes at the end and store their median in latency.json",
    )
    add("--resume", action="store_true", help="keep the episodes that are finished")
    add("--skip", action="store_true", help="leave out checkpoints whose evaluation is complete")
    add(
        "--save-video",
        nargs="?",
        type=_natural,
        const=None,
        default=0,
        metavar="N",
        help="film every episode, or the first N of each task",
    )


def print_rates(rates: Mapping[str, Sequence[float]]) -> None:
    """Repeats as mean and deviation, and the best of several checkpoints."""
    for name, values in rates.items():
        if len(values) > 1:
            mean, deviation = statistics.fmean(values), statistics.stdev(values)
            print(f"{name}: {mean:.1f} ± {deviation:.1f} % over {len(values)} repeats")
    if len(rates) > 1:
        best = max(rates, key=lambda name: statistics.fmean(rates[name]))
        print(f"best checkpoint: {best}, {statistics.fmean(rates[best]):.1f} % on average")


def print_lost(lost: Sequence[EpisodeRow]) -> None:
    """Say that episodes failed for the simulator's sake, if any did."""
    if lost:
        causes = Counter(row.failure for row in lost)
        told = ", ".join(f"{count} x {cause}" for cause, count in causes.items())
        print(
            f"{len(lost)} episodes count as failed although the simulator lost them, not the "
            f"policy ({told}): the same command with --resume runs them again.",
            file=sys.stderr,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status, 1 if the simulator lost episodes."""
    args = build_parser().parse_args(argv)
    return run_command(
        lambda: _evaluate(options_from(args)),
        interrupted="Interrupted. Finished episodes are stored: the same command with --resume "
        "goes on.",
    )


def options_from(args: argparse.Namespace) -> EvaluationOptions:
    """What the flags ask for.

    Raises:
        OptionError: they contradict each other, or ask for what is not supported.
    """
    if args.peract_official:
        raise OptionError("--peract_official: the PerAct baseline is not part of this project")
    if args.model_folder is None:
        raise OptionError(
            "--model-folder is missing: the folder of the run; with --ground-truth any folder, for "
            "the results"
        )
    values = vars(args) | {"perturbations": tuple(args.perturb)}
    if args.use_input_place_with_mean:
        values["exp_cfg_opts"] = f"{args.exp_cfg_opts} eval.place_with_mean trained".strip()
    names = [field.name for field in dataclasses.fields(EvaluationOptions)]
    given = {name: _as_tuple(values[name]) for name in names if name in values}
    return EvaluationOptions(**given, env_options={name: values[name] for name in DEFAULTS})


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _evaluate(options: EvaluationOptions) -> int:
    with distributed_context(options.device) as world:
        configure_console(world.rank)
        if world.device.type == "cpu":
            keep_freed_memory()
        outcome = evaluate(options, world)
        print_rates(outcome.rates)
        print_lost(outcome.lost)
    return FAULT if outcome.lost else DONE


if __name__ == "__main__":
    sys.exit(main())
