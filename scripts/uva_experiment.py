#!/usr/bin/env python3
"""UVA trained here from nothing: an autoencoder, the video, video and actions; against one stage.

    python scripts/uva_experiment.py --data data/pusht_cchi_v7_replay.zarr        # PushT
    python scripts/uva_experiment.py --task open_drawer             # embedded simulator, 20 Hz
    python scripts/uva_experiment.py --quick                        # a few updates of everything
    python scripts/uva_experiment.py --steps one_stage state report # a part of it
    python scripts/uva_experiment.py --size gpu --device 0 --minutes 9         # width 512, bf16

The page at its end shows imagined and real frames, films, and scores beside those of a baseline
that sees the state (PushT). Every step is a command of this project, shown before it runs; running
the script again resumes, and --minutes ends a piece in time. Two shells with other --steps, and
OMP_NUM_THREADS=1 in each, use two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it runs without an installation

from sam2act.cli.arguments import ArgumentParser  # noqa: E402
from sam2act.core.run_folder import IMAGINED, RunFolder  # noqa: E402
from sam2act.experiments import commands, scripted  # noqa: E402
from sam2act.runtime.console import make_output_safe  # noqa: E402
from sam2act.runtime.steps import Step  # noqa: E402

SCRIPTS = Path(__file__).resolve().parent
PUSHT, DRAWER = TASKS = ("pusht", "open_drawer")
TEST_SCENES, TRAIN_SCENES = 100_000, 0  # of PushT: seeds of Diffusion Policy's runner
QUICK_NOTE = "A quick run: it shows that everything works, its figures mean little."
METHODS = {  # label on the page by run
    "joint": "UVA, two stages",
    "one_stage": "UVA, one stage",
    "state": "state instead of pictures",
}
BUFFER = Path("data/pusht_cchi_v7_replay.zarr")  # in the checkout
IMAGES = 64  # pixels per side of the camera in the embedded simulator


@dataclass(frozen=True)
class Size:
    """How much is trained and evaluated.

    Attributes:
        trainings: options of the experiment by run.
        episodes: in scenes that training has not seen.
        seen_episodes: in scenes of the training's own seeds (PushT).
        windows: whose frames are imagined.
        demos: recorded in the simulator (open_drawer).
        network: options of UVA's network in all its runs.
    """

    trainings: dict[str, str]
    episodes: int
    seen_episodes: int
    windows: int
    demos: int = 0
    network: str = ""


TINY, GPU = "tiny", "gpu"
AUTOENCODER = "bs 32 train_iter 12800 epochs 2 peract.lr 6.25e-5 peract.warmup_steps 50"
# One stage gets as many updates as two together.
# Updates of 256 windows: 1,600 of single pictures, 2,000, 10,000 and 12,000.
WIDE = "bs 256 train_iter 128000 num_workers 8 peract.amp True peract.amp_dtype bfloat16"
SIZES = {
    (GPU, PUSHT): Size(
        {
            "autoencoder": f"{WIDE} train_iter 102400 epochs 4 peract.lr 7.8125e-6",
            "video": f"{WIDE} epochs 4 peract.lr 1.171875e-6",
            "joint": f"{WIDE} epochs 20 peract.lr 1.171875e-6",
            "one_stage": f"{WIDE} epochs 24 peract.lr 1.171875e-6",
            "state": "epochs 10",
        },
        *(50, 6, 64),
        network=(
            "encoder_embed_dim 512 encoder_depth 6 decoder_depth 6 num_heads 8 attn_dropout 0.1 "
            "proj_dropout 0.1 diffloss_w 512 act_diffloss_w 512 cache_latents False"
        ),
    ),
    (TINY, PUSHT): Size(
        {
            "autoencoder": AUTOENCODER,
            "video": "epochs 3",
            "joint": "epochs 39",
            "one_stage": "epochs 42",
            "state": "epochs 10",
        },
        *(50, 6, 64),
    ),
    (TINY, DRAWER): Size(
        {
            "autoencoder": AUTOENCODER,
            "video": "epochs 3",
            "joint": "epochs 39",
            "one_stage": "epochs 42",
        },
        *(50, 0, 64),
        demos=100,
    ),
}
QUICK = (
    "bs 4 train_iter 8 epochs 1 peract.warmup_steps 1 demo 4 validation.demo_start 4 num_workers 0"
)
NETWORK_OPTIONS = {
    "autoencoder": "trains vae cache_latents False",
    "video": "predict_action False selected_training_mode video_model",
}
STARTS_FROM = {"video": "autoencoder", "joint": "video", "one_stage": "autoencoder"}


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--task", choices=TASKS, default=PUSHT, help=f"what is learned ({PUSHT})")
    add("--data", type=_absolute, help=f"PushT's buffer ({BUFFER})")
    add("--size", choices=(TINY, GPU), default=TINY, help=f"network and training ({TINY})")
    add("--quick", action="store_true", help="a short run whose figures mean little")
    add("--seed", type=int, default=0, help="of trainings and demonstrations (0)")
    add("--steps", nargs="+", default=[], metavar="STEP", help="these alone (see --describe)")
    add("--more", default="", metavar="OPTS", help="more options of all trainings")
    add("--network", default="", metavar="OPTS", help="more options of UVA's network")
    add("--device", default="cpu", help="of trainings and acting (cpu)")
    scripted.add_flags(parser)
    return parser


def _absolute(text: str) -> Path:
    return Path(text).resolve()


class Experiment:
    """The steps of one task and seed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        size = SIZES[args.size if args.task == PUSHT else TINY, args.task]
        self.size = _quick(size) if args.quick else size
        self.name = "quick_" * args.quick + "gpu_" * (args.size == GPU) + args.task
        self.output: Path = args.output.resolve()
        self.page = self.output / f"report_{self.name}_seed{args.seed}.html"
        self.demos = self.output / f"data_dense_{self.name}_seed{args.seed}"
        self.data = self.demos if args.task == DRAWER else args.data or BUFFER

    def run(self, part: str) -> RunFolder:
        """The run folder of a training."""
        return RunFolder(self.output / "runs" / f"{self.name}_{part}_seed{self.args.seed}")

    def every_step(self) -> list[tuple[str, Step]]:
        """Everything in order, by the names that --steps takes."""
        steps = []
        if self.args.task == DRAWER:
            steps.append(("demonstrations", Step("demonstrations", self._demonstrations())))
        for part, options in self.size.trainings.items():
            steps.append((part, Step(f"training, {part}", self._training(part, options))))
        for part in self.methods:
            steps += [(f"evaluate_{part}", step) for step in self._evaluations(part)]
        steps.append(("imagine", Step("imagined frames", self._imagine())))
        steps.append(("report", Step("report", self._report())))
        return steps

    def steps(self) -> list[Step]:
        """Those that the flags ask for."""
        wanted = self.args.steps
        return [step for name, step in self.every_step() if not wanted or name in wanted]

    @property
    def methods(self) -> list[str]:
        """The runs that act."""
        return [part for part in self.size.trainings if part in METHODS]

    def _demonstrations(self) -> commands.Command:
        return commands.demonstrations(
            self.demos / "train",
            self.args.task,
            episodes=self.size.demos,
            seed=self.args.seed,
            image_size=IMAGES,
            workers=self.args.workers,
            more=("--images", "all"),
        )

    def _training(self, part: str, options: str) -> commands.Command:
        args = self.args
        common = (
            f"exp_id {self.name} exp_name {part}_seed{args.seed} seed {args.seed} "
            f"log_every 20 wandb False data_folder {self.data} "
            f"store_folder {self.output / f'store_{self.name}_seed{args.seed}'}"
        )
        network = []
        if part != "state":
            network += [self.size.network, args.network, NETWORK_OPTIONS.get(part, "")]
        if part in STARTS_FROM:
            network.append(f"pretrained_model_path {self.run(STARTS_FROM[part]).last}")
        return commands.training(
            1,
            f"tiny_{'state' if part == 'state' else 'uva'}_{args.task}",
            f"{common} {options} {args.more}",
            log_dir=self.output / "runs",
            network_options=" ".join(filter(None, network)),
            more=("--device", args.device),
        )

    def _evaluations(self, part: str) -> list[Step]:
        size, checkpoint = self.size, self.run(part).last
        more = ("--workers", self.args.workers, "--device", self.args.device)
        first = commands.FIRST_EVALUATION_SEED + 100 * self.args.seed
        scenes = ("embedded", first) if self.args.task == DRAWER else (PUSHT, TEST_SCENES)
        filmed: tuple[object, ...] = ("--save-video", 2)
        series = [("test", scenes, size.episodes, filmed)]
        if size.seen_episodes:
            series.append(("train", (PUSHT, TRAIN_SCENES), size.seen_episodes, ()))
        return [
            Step(
                f"evaluation, {part}, scenes of {name}",
                commands.closed_loop(
                    checkpoint,
                    self.args.task,
                    scenes=where,
                    episodes=episodes,
                    log_name=name,
                    more=(*more, *films),
                ),
            )
            for name, where, episodes, films in series
        ]

    def _imagine(self) -> commands.Command:
        run = self.run("joint")
        return commands.sam2act(
            *("imagine", run.last, "--windows", self.size.windows),
            *("--output", run.folder / IMAGINED, "--device", self.args.device),
        )

    def _report(self) -> commands.Command:
        """Of the methods whose evaluation is asked for or was begun."""
        wanted = self.args.steps
        shown = [
            f"{METHODS[part]}={self.run(part).folder}"
            for part in self.methods
            if not wanted or f"evaluate_{part}" in wanted or self.run(part).evaluations.is_dir()
        ]
        note = ("--note", QUICK_NOTE) if self.args.quick else ()
        return commands.sam2act("report", *shown, "--output", self.page, *note)


def _quick(size: Size) -> Size:
    trainings = {part: f"{options} {QUICK}" for part, options in size.trainings.items()}
    demos, seen = (8 if size.demos else 0), min(size.seen_episodes, 1)
    return Size(trainings, 2, seen, windows=2, demos=demos, network=size.network)


def check(experiment: Experiment) -> str:
    """What is wrong with the flags; empty if nothing is."""
    args = experiment.args
    known = list(dict.fromkeys(name for name, _ in experiment.every_step()))
    unknown = [name for name in args.steps if name not in known]
    if unknown:
        return f"--steps {unknown[0]}: unknown; the steps are {', '.join(known)}"
    if args.data is not None and args.task != PUSHT:
        return f"--data is for --task {PUSHT}; {args.task} records its own demonstrations"
    if args.size == GPU and args.task != PUSHT:
        return f"--size {GPU} is for --task {PUSHT}"
    if args.seed < 0:
        return f"--seed {args.seed}: not a natural number"
    return scripted.problem(args)


def describe(experiment: Experiment) -> str:
    """The plan in words."""
    lines = [f"UVA on {experiment.args.task}, seed {experiment.args.seed}:"]
    lines += [f"  {name}: {' '.join(step.command[3:])}" for name, step in experiment.every_step()]
    lines.append(f"The page is {experiment.page}. Running it again resumes.")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status, 3 if the time was up, 130 if interrupted."""
    make_output_safe()
    args = build_parser().parse_args(argv)
    experiment = Experiment(args)
    problem = check(experiment)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    if args.describe:
        print(describe(experiment))
        return 0
    name = f"{experiment.name}_seed{args.seed}"
    return scripted.carry_out(experiment.steps(), args, SCRIPTS.parent, name)


if __name__ == "__main__":
    sys.exit(main())
