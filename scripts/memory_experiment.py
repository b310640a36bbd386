#!/usr/bin/env python3
"""The memory experiment: does SAM2Act+ remember what SAM2Act cannot know?

    python scripts/memory_experiment.py                        # put_block_back, tiny network, CPU
    python scripts/memory_experiment.py --task rearrange_block --seed 1
    python scripts/memory_experiment.py --task all --seeds 3           # three tasks, three seeds
    python scripts/memory_experiment.py --size full --minutes 9        # one GPU, in pieces

For one task that needs memory, in the embedded simulator: demonstrations, stage 1, stage 2,
closed-loop evaluation of both, a report page. Several tasks or seeds come one after the other, and
a page over all of them at the end. Every step is a command of this project, shown before it runs.
--size full trains the published network and evaluates 4 x 25 episodes; --corrected takes the
presets with the corrections. Running it again resumes; --minutes ends a piece in time. Other
options are another experiment: --stage-one and --stage-two give it folders of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it runs without an installation

from sam2act.cli.arguments import ArgumentParser  # noqa: E402
from sam2act.core.run_folder import RunFolder  # noqa: E402
from sam2act.core.tasks import CHANCE, MEMORYBENCH_TASKS  # noqa: E402
from sam2act.experiments import commands, scripted  # noqa: E402
from sam2act.runtime.console import make_output_safe  # noqa: E402
from sam2act.runtime.steps import Step  # noqa: E402

# What is imported needs the standard library only: quickstart.sh asks this script before anything
# is installed.
TASKS = (*sorted(MEMORYBENCH_TASKS), *sorted(CHANCE.keys() - set(MEMORYBENCH_TASKS)))
# Demonstrations of the embedded reopen_drawer have 9 keyframes, too few for the published window.
FULL_PRESETS = {task: task for task in TASKS} | {"reopen_drawer": "reopen_drawer_v1"}
SCRIPTS = Path(__file__).resolve().parent
EPISODE_LENGTH = 25  # as published; the report counts first guesses by themselves
ALL = "all"
QUICK_NOTE = "A quick run: it shows that everything works, its figures mean little."
READABLE_LETTERS = 24  # of options in the name of a folder


@dataclass(frozen=True)
class Size:
    """How much is trained and evaluated.

    Attributes:
        demos: demonstrations.
        stage_one: options of the first stage.
        stage_two: options of the second stage.
        episodes: per evaluation.
        image_size: pixels per side of the cameras.
        repeats: evaluations, each on other scenes.
        minutes: that the quick start takes on the machine `MEASURED_ON`; empty if unknown.
    """

    demos: int
    stage_one: str
    stage_two: str
    episodes: int
    image_size: int
    repeats: int = 1
    minutes: str = ""


MEASURED_ON = "two cores of an AMD EPYC or Intel Xeon, no GPU, the upper end beside other work"
TINY_IMAGES = 64  # as wide as the views that the tiny network renders
TINY = {
    "put_block_back": Size(100, "epochs 9", "epochs 10", 40, TINY_IMAGES, minutes="12 to 31"),
    "rearrange_block": Size(100, "epochs 9", "epochs 10", 40, TINY_IMAGES),
    "reopen_drawer": Size(100, "epochs 10", "epochs 10", 40, TINY_IMAGES),
    "push_same_button": Size(100, "epochs 9", "epochs 10", 40, TINY_IMAGES),
}
# Full-size trainings are counted in samples: 16 epochs of 16,384 and 8 of 8,192.
FULL = Size(
    100,
    "epochs 16 train_iter 16384 bs 16 peract.grad_accumulation 1 peract.warmup_steps 200",
    "epochs 8 train_iter 8192 peract.warmup_steps 50",
    25,
    128,
    repeats=4,
)


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    # No abbreviations: quickstart.sh looks for --help and --describe among the arguments.
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    tasks = (*TASKS, ALL)
    add("--task", choices=tasks, default=TASKS[0], help=f"task, or all of MemoryBench ({TASKS[0]})")
    add("--size", choices=("tiny", "full"), default="tiny", help="network and training (tiny)")
    add("--quick", action="store_true", help="a short run whose figures mean little")
    add("--corrected", action="store_true", help="with --size full: the presets *_corrected")
    add("--no-downloads", action="store_true", help="with --size full: no SAM2 and CLIP weights")
    add("--seed", type=int, default=0, help="of demonstrations, training and evaluation (0)")
    add("--seeds", type=int, default=1, metavar="N", help="this many, counted from --seed (1)")
    add("--stage-one", default="", metavar="OPTS", help="more options, for example 'epochs 8'")
    add("--stage-two", default="", metavar="OPTS", help="more options of the second stage")
    scripted.add_flags(parser)
    return parser


class Experiment:
    """The steps of one task and seed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.size = _size(args)
        self.name = _name(args)
        self.output: Path = args.output.resolve()
        self.images = f"{self.size.image_size}px_seed{args.seed}"
        self.data = self.output / f"data_{self.images}"
        self.run = self.output / "runs" / f"{self.name}_seed{args.seed}"
        self.page = self.output / f"report_{self.name}_seed{args.seed}.html"

    def steps(self) -> list[Step]:
        """Everything in order."""
        return [
            Step("demonstrations", self._demonstrations()),
            Step("training of SAM2Act (stage 1)", self._training(1, self.size.stage_one)),
            Step("training of SAM2Act+ (stage 2)", self._training(2, self.size.stage_two)),
            Step("evaluation of SAM2Act", self._evaluation(1)),
            Step("evaluation of SAM2Act+", self._evaluation(2)),
            Step("report", self._report()),
        ]

    def _demonstrations(self) -> commands.Command:
        return commands.demonstrations(
            self.data / "train",
            self.args.task,
            episodes=self.size.demos,
            seed=self.args.seed,
            image_size=self.size.image_size,
            workers=self.args.workers,
        )

    def _training(self, stage: int, options: str) -> commands.Command:
        args, plus = self.args, stage == 2
        preset = ("tiny" if args.size == "tiny" else "sam2act") + "_plus" * plus
        preset += "_corrected" * args.corrected
        common = (
            f"tasks {args.task} exp_id {self.name} exp_name seed{args.seed} seed {args.seed} "
            f"demo {self.size.demos} log_every 5 wandb False image_size {self.size.image_size} "
            f"data_folder {self.data} store_folder {self.output / f'store_{self.images}'}"
        )
        common += " language.encoder hashed" * args.no_downloads
        name = f"tiny_{args.task}" if args.size == "tiny" else FULL_PRESETS[args.task]
        return commands.training(
            stage,
            preset,
            f"{common} {options} {args.stage_two if plus else args.stage_one}",
            log_dir=self.output / "runs",
            network_options="sam2_ckpt ''" if args.no_downloads else "",
            task_file=f"configs/tasks/{name}.yaml" if plus else "",
        )

    def _evaluation(self, stage: int) -> commands.Command:
        return commands.evaluation(
            RunFolder(self.run, stage).last,
            self.args.task,
            seed=self.args.seed,
            episodes=self.size.episodes,
            episode_length=EPISODE_LENGTH,
            log_name="experiment",
            workers=self.args.workers,
            more=("--repeats", self.size.repeats, "--save-video", 4),
        )

    def _report(self) -> commands.Command:
        return _report([self.run], self.page, self.args)


class Series:
    """The experiments that the flags ask for, and a page over all of them if there are several."""

    def __init__(self, args: argparse.Namespace) -> None:
        tasks = tuple(sorted(MEMORYBENCH_TASKS)) if args.task == ALL else (args.task,)
        seeds = range(args.seed, args.seed + args.seeds)
        # All tasks of a seed come before the next seed.
        chosen = [{"task": task, "seed": seed} for seed in seeds for task in tasks]
        flags = vars(args)
        self.experiments = [Experiment(argparse.Namespace(**flags | one)) for one in chosen]
        first = self.experiments[0]
        self.output, self.name = first.output, f"{first.name}_seed{args.seed}"
        self.page = first.page
        if len(chosen) > 1:
            self.name = f"{_name(args)}_seeds{seeds[0]}-{seeds[-1]}"
            self.page = self.output / f"report_{self.name}.html"

    def steps(self) -> list[Step]:
        """Everything in order."""
        steps = [step for experiment in self.experiments for step in experiment.steps()]
        if len(self.experiments) > 1:
            runs = [experiment.run for experiment in self.experiments]
            command = _report(runs, self.page, self.experiments[0].args)
            steps.append(Step("report of all", command))
        return steps


def _size(args: argparse.Namespace) -> Size:
    if args.size == "full":
        return FULL
    size = TINY[args.task]
    if not args.quick:
        return size
    return Size(30, "epochs 1", "epochs 1", 8, TINY_IMAGES, minutes="3 to 5")


def _name(args: argparse.Namespace) -> str:
    """What tells experiments apart, but for their seeds."""
    words = ["quick"] * args.quick + ["full"] * (args.size == "full")
    words += ["corrected"] * args.corrected + ["no_downloads"] * args.no_downloads
    return "_".join([*words, args.task, *_words_of_options(args)])


def _words_of_options(args: argparse.Namespace) -> list[str]:
    """What tells apart experiments with more options: their letters, and a hash of them all."""
    options = [" ".join(text.split()) for text in (args.stage_one, args.stage_two)]
    if not any(options):
        return []
    letters = re.sub(r"[^A-Za-z0-9._]+", "-", " ".join(options))[:READABLE_LETTERS].strip("-.")
    return [*filter(None, [letters]), hashlib.sha256("\n".join(options).encode()).hexdigest()[:6]]


def _report(runs: Sequence[Path], page: Path, args: argparse.Namespace) -> commands.Command:
    """A page about `runs`, whose trainings count together."""
    pool = ("--pool",) if len(runs) > 1 else ()
    note = ("--note", QUICK_NOTE) if args.quick else ()
    return commands.sam2act("report", *runs, "--output", page, *pool, *note)


def check(args: argparse.Namespace) -> str:
    """What is wrong with the flags; empty if nothing is."""
    if args.quick and args.size == "full":
        return "--quick is for --size tiny"
    if (args.corrected or args.no_downloads) and args.size != "full":
        return "--corrected and --no-downloads are for --size full"
    if args.seeds < 1:
        return f"--seeds {args.seeds}: at least one is needed"
    if args.seed < 0:
        return f"--seed {args.seed}: not a natural number"
    return scripted.problem(args)


def describe(series: Series) -> str:
    """The plan in words."""
    plans = [describe_one(experiment) for experiment in series.experiments]
    return "\n".join(
        [
            *plans,
            f"The page is {series.page}.",
            f"Running it again resumes. Everything is written below {series.output}.",
        ]
    )


def describe_one(experiment: Experiment) -> str:
    """The plan of one task and seed in words."""
    args, size = experiment.args, experiment.size
    time_needed = f", {size.minutes} minutes on {MEASURED_ON}" if size.minutes else ""
    return "\n".join(
        [
            f"Memory experiment on {args.task}, seed {args.seed}{time_needed}:",
            f"  - {size.demos} demonstrations in the embedded simulator",
            f"  - SAM2Act: stage 1 ({f'{size.stage_one} {args.stage_one}'.strip()})",
            f"  - SAM2Act+: stage 2, the memory ({f'{size.stage_two} {args.stage_two}'.strip()})",
            f"  - {size.repeats * size.episodes} episodes of each on scenes that neither has seen",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status, 3 if the time was up, 130 if interrupted."""
    make_output_safe()
    args = build_parser().parse_args(argv)
    problem = check(args)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    series = Series(args)
    print(describe(series), flush=True)
    if args.describe:
        return 0
    code = scripted.carry_out(series.steps(), args, SCRIPTS.parent, series.name)
    if not code:
        print(f"Open {series.page} in a browser.")
    return code


if __name__ == "__main__":
    sys.exit(main())
