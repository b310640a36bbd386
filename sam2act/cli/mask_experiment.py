"""The experiment on masks: do masked agents withstand what plain ones do not?

    sam2act mask-experiment                                  # two tasks, two seeds, tiny network
    sam2act mask-experiment --ways plain simulator --tasks open_drawer --seeds 1 --describe
    sam2act mask-experiment --minutes 60                     # in pieces

SAM2Act is trained on each task once plain and once per way to mask its observations (transform
sam_g), then evaluated on unperturbed scenes and under each factor of The Colosseum. Every way, task
and seed is a cell of ordinary commands: demonstrations, reference images, masks, training,
evaluations. --describe shows them; OUTPUT/commands.sh holds them all.

OUTPUT/report.html shows success and its relative change per factor; OUTPUT/masks_TASK.html shows
what the masked agents see, and films of all agents side by side. The same command goes on after an
interruption and repeats nothing that is done; several calls on one folder with --shard 0/2,
--shard 1/2 share the cells. The status is 0 if all cells are complete, 1 if some failed, 2 if there
is something for you to mend, 3 if the time of --minutes was up, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, add_device, positive_number
from sam2act.cli.cell_flags import (
    add_running_flags,
    check_minutes,
    deadline_after,
    simulated_tasks,
    tell_failures,
)
from sam2act.cli.status import DONE, FAULT, run_command
from sam2act.experiments import commands
from sam2act.experiments.cells import COMPLETE, Settings
from sam2act.experiments.masked import PLAIN, UNPERTURBED, WAYS, MaskedCell, make_masked_cells
from sam2act.experiments.plan import check_settings, describe, write_plan
from sam2act.experiments.presets import choose_presets, image_size
from sam2act.experiments.run import CellRunner, Share
from sam2act.runtime.steps import Step, run_steps

TASKS = ("open_drawer", "put_block_back")
FACTORS = ("distractor_object", "background_texture", "table_texture", "all")
EVALUATED_WAYS = (PLAIN, "simulator", "grabcut")


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    group = parser.add_argument_group("what is compared")
    add = group.add_argument
    names = ", ".join(WAYS)
    add("--ways", nargs="+", default=list(EVALUATED_WAYS), help=f"of {names} (the first three)")
    add("--tasks", nargs="+", default=list(TASKS), help=f"{TASKS_HELP} ({' '.join(TASKS)})")
    add("--factors", nargs="+", default=list(FACTORS), help=f"({' '.join(FACTORS)})")
    add("--seeds", type=positive_number, default=2, metavar="N", help="seeds 0 to N - 1 (2)")
    add("--mode", choices=("drop_points", "black"), default="drop_points", help="of sam_g")
    group = parser.add_argument_group("how much")
    add = group.add_argument
    add("--preset", default="tiny", help="of the network and its training (tiny)")
    add("--demos", type=positive_number, default=100, help="demonstrations per task (100)")
    add("--episodes", type=positive_number, default=25, help="per evaluation (25)")
    add("--episode-length", type=positive_number, default=25, help="most keyframes (25)")
    add("--image-size", type=positive_number, help="pixels per side (64 for small presets)")
    add("--exp-cfg-opts", default="", metavar="OPTS", help='of every training: "epochs 2"')
    add("--mvt-cfg-opts", default="", metavar="OPTS", help="of every network")
    add("--films", type=int, default=2, help="per evaluation (2)")
    group = parser.add_argument_group("how it runs")
    add = group.add_argument
    add("--output", type=Path, default=Path("mask_experiment"), help="folder of everything")
    add("--workers", type=positive_number, default=2, help="simulator processes (2)")
    add_device(group)
    add_running_flags(group)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _experiment(args))


def _experiment(args: argparse.Namespace) -> int:
    cells, settings = _cells(args)
    check_minutes(args.minutes)
    if args.describe:
        print(describe(cells, settings.output))
        return DONE
    deadline = deadline_after(args.minutes)
    write_plan(cells, settings)
    code = CellRunner((args.shard or Share()).of(cells), deadline=deadline).run()
    if code:
        return code
    failed = tell_failures(cells)
    finished = [cell for cell in cells if cell.state() == COMPLETE]
    if finished:
        code = run_steps(page_steps(finished), Path.cwd(), deadline, settings.output / "pages.txt")
    return code or (FAULT if failed else DONE)


def _cells(args: argparse.Namespace) -> tuple[list[MaskedCell], Settings]:
    """The cells that the flags ask for; nothing is written.

    Raises:
        ConfigError: a name is unknown, or the folder holds another experiment.
    """
    tasks = simulated_tasks(args.tasks)
    presets = choose_presets([args.preset])
    settings = Settings(
        output=args.output.resolve(),
        demos=args.demos,
        image_size=args.image_size or image_size(presets),
        episodes=args.episodes,
        episode_length=args.episode_length,
        experiment_options=" ".join(args.exp_cfg_opts.split()),
        network_options=" ".join(args.mvt_cfg_opts.split()),
        workers=args.workers,
        device=args.device,
    )
    check_settings(settings)
    factors = [factor for factor in dict.fromkeys(args.factors) if factor != UNPERTURBED]
    cells = make_masked_cells(
        *(args.ways, tasks, range(args.seeds), settings),
        preset=presets[0],
        factors=factors,
        mode=args.mode,
        films=args.films,
    )
    return cells, settings


def page_steps(cells: Sequence[MaskedCell]) -> list[Step]:
    """The commands that make pages of complete cells."""
    output = cells[0].settings.output
    runs = [f"{cell.way}={cell.run.folder}" for cell in cells]
    report = commands.sam2act("report", *runs, "--output", output / "report.html")
    steps = [Step("report", report)]
    for task in dict.fromkeys(cell.task for cell in cells):
        masked = {cell.way: cell for cell in cells if cell.task == task and cell.way != PLAIN}
        same = [cell for cell in cells if cell.task == task and cell.seed == cells[0].seed]
        command = commands.sam2act(
            *("mask-report", "--task", task, "--image-size", cells[0].settings.image_size),
            *("--output", output / f"masks_{task}.html", "--factors", *cells[0].factors),
            *("--runs", *(f"{cell.way}={cell.run.folder}" for cell in same)),
            *(("--transforms", *(cell.looking for cell in masked.values())) if masked else ()),
        )
        steps.append(Step(f"page of masks, {task}", command))
    return steps


if __name__ == "__main__":
    sys.exit(main())
