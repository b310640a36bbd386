"""Compare presets on tasks of the embedded simulator: one table and one page.

    sam2act compare --presets tiny tiny_plus --tasks put_block_back --seeds 3
    sam2act compare --presets 'tiny*' --tasks open_drawer put_block_back --describe
    torchrun --nproc_per_node 8 -m sam2act compare --presets 'sam2act*' --tasks memorybench

A preset is a pair of files, configs/NAME.yaml and configs/mvt/NAME.yaml; --list shows all. Every
preset, task and seed is a cell: demonstrations, training (of a preset with memory both stages) and
evaluation, each an ordinary command. --describe shows them; OUTPUT/commands.sh holds them all.
Presets of a task and seed see the same demonstrations and the same new scenes; those of policies
at frame rate get images of every frame of them. PRESET@EXECUTOR evaluates a preset with an executor
of choice, 'tiny_cogact@open_loop(8)' for example; all executors of a preset share its training.

OUTPUT/comparison.html shows success with its interval, differences on equal scenes, and what it
costs (parameters, training time, memory, latency); OUTPUT/comparison.csv is the table. Both are
written anew after every cell. Each evaluation also holds eval_info.json, as LeRobot writes it.

The same command goes on after an interruption, repeats nothing that is done, and tries again what
failed. More presets, tasks, seeds or episodes extend a finished comparison. Cells are shared out
over the processes of torchrun, or over calls with --shard 0/4 ... --shard 3/4 on one folder; what
cells have in common is made once. A cell that fails stops no other; the page and the status tell.
The status is 0 if all cells are complete, 1 if some failed, 2 if there is something for you to
mend, 3 if the time of --minutes was up, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sam2act.cli.arguments import TASKS_HELP, ArgumentParser, add_device, positive_number
from sam2act.cli.cell_flags import (
    add_running_flags,
    check_minutes,
    deadline_after,
    simulated_tasks,
    tell_failures,
)
from sam2act.cli.report import aligned
from sam2act.cli.status import DONE, FAULT, run_command
from sam2act.core.errors import ConfigError
from sam2act.experiments.cells import COMPLETE, Settings, make_cells
from sam2act.experiments.commands import as_text
from sam2act.experiments.plan import check_settings, describe, distinct_steps, write_plan
from sam2act.experiments.presets import Preset, choose_presets, image_size, preset_names
from sam2act.experiments.results import read_results
from sam2act.experiments.run import CellRunner, Share, failures
from sam2act.reports.compared import comparison_page, comparison_table, write_table
from sam2act.runtime.distributed import distributed_context

PAGE, TABLE = "comparison.html", "comparison.csv"
PATIENCE = timedelta(days=30)  # of processes that have no more cells


def build_parser() -> argparse.ArgumentParser:
    """Command-line flags."""
    parser = ArgumentParser(description=__doc__)
    group = parser.add_argument_group("what is compared")
    add = group.add_argument
    add(
        "--presets",
        nargs="+",
        default=[],
        help="names or patterns such as 'tiny*', perhaps @EXECUTOR",
    )
    add("--list", action="store_true", help="list the presets that there are, and stop")
    add("--tasks", nargs="+", default=["put_block_back"], help=f"{TASKS_HELP} (put_block_back)")
    add("--seeds", type=positive_number, default=1, metavar="N", help="seeds 0 to N - 1 (1)")
    add("--reference", default="", help="preset that differences are taken from (the first)")
    group = parser.add_argument_group("how much")
    add = group.add_argument
    add("--demos", type=positive_number, default=100, help="demonstrations per task (100)")
    add("--episodes", type=positive_number, default=25, help="per evaluation (25)")
    add(
        "--episode-length",
        type=positive_number,
        default=25,
        help="most keyframes (25); policies at frame rate have 1.5 times the longest demonstration",
    )
    add(
        "--image-size",
        type=positive_number,
        help="pixels per side of the cameras (64 if all presets render small views, else 128); "
        "policies at frame rate have that of their files",
    )
    add("--exp-cfg-opts", default="", metavar="OPTS", help='of every training: "epochs 2"')
    add("--plus-cfg-opts", default="", metavar="OPTS", help="more of them for second stages")
    add("--mvt-cfg-opts", default="", metavar="OPTS", help="of every network")
    group = parser.add_argument_group("how it runs")
    add = group.add_argument
    add("--output", type=Path, default=Path("comparison"), help="folder of everything (comparison)")
    add("--workers", type=positive_number, default=2, help="simulator processes (2)")
    add_device(group, default=None)
    add_running_flags(group)
    add("--report-only", action="store_true", help="write table and page of what is there, no more")
    add("--title", default="", help="heading of the page")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _compare(args))


def _compare(args: argparse.Namespace) -> int:
    if args.list:
        print("\n".join(preset_names()))
        return DONE
    comparison = Comparison(args)
    if args.describe:
        print(describe(comparison.cells, comparison.settings.output))
        return DONE
    if args.report_only:
        return comparison.report()
    if "WORLD_SIZE" not in os.environ:
        return comparison.run(args.shard or Share()) or comparison.report()
    if args.shard:
        raise ConfigError("--shard: torchrun shares the cells out already; leave it out")
    with distributed_context("cpu", patience=PATIENCE) as world:
        code = comparison.run(Share(world.rank, world.size))
        # Whoever ended first would end the others: torchrun stops all when one fails.
        time_is_up = world.any(bool(code))
        if world.is_main:
            comparison.report()
        return code or (3 if time_is_up else FAULT if failures(comparison.cells) else DONE)


class Comparison:
    """What the flags ask for."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Find presets and tasks; nothing is written.

        Raises:
            ConfigError: a preset or task does not exist, or flags contradict each other.
        """
        self.args = args
        check_minutes(args.minutes)
        if not args.presets:
            raise ConfigError(f"--presets is missing; there are {', '.join(preset_names())}")
        self.presets = choose_presets(args.presets)
        self.reference = "".join(args.reference.split()) or self.presets[0].label
        if self.reference not in [preset.label for preset in self.presets]:
            raise ConfigError(f"--reference {self.reference} is none of the presets compared")
        tasks = simulated_tasks(args.tasks)
        self.settings = _settings(args, self.presets)
        check_settings(self.settings)
        self.cells = make_cells(self.presets, tasks, range(args.seeds), self.settings)

    def run(self, part: Share) -> int:
        """Run the cells of this process; 0, or the status with which it stopped."""
        deadline = deadline_after(self.args.minutes)
        write_plan(self.cells, self.settings)
        runner = CellRunner(part.of(self.cells), deadline=deadline, after_cell=self.write)
        return runner.run()

    def report(self) -> int:
        """Write and print what there is; 1 if a cell failed."""
        results = read_results(self.cells)
        if results:
            print("\n" + aligned(*comparison_table(results)))
        self.write()
        missing = sum(cell.state() != COMPLETE for cell in self.cells)
        if missing:
            print(f"{missing} of {len(self.cells)} cells are not complete")
        failed = tell_failures(self.cells)
        if results:
            print(self.settings.output / PAGE)
        return FAULT if failed else DONE

    def write(self) -> None:
        """Write table and page, if there is anything to show."""
        results = read_results(self.cells)
        if not results:
            return
        write_table(self.settings.output / TABLE, results)
        page = comparison_page(
            self.args.title or self._title(),
            results,
            reference=self.reference,
            notes=self._notes(),
            commands="\n".join(as_text(step.command) for step in distinct_steps(self.cells)),
        )
        page.write(self.settings.output / PAGE)

    def _title(self) -> str:
        tasks, seeds = len({cell.task for cell in self.cells}), self.args.seeds
        return (
            f"{_counted(len(self.presets), 'preset')} on {_counted(tasks, 'task')}, "
            f"{_counted(seeds, 'seed')}"
        )

    def _notes(self) -> list[str]:
        failed = failures(self.cells)
        notes = [
            f"Failed: {cell.title}, in the {record.failed}: {record.why} (log {cell.log})"
            for cell, record in failed
        ]
        missing = sum(cell.state() != COMPLETE for cell in self.cells) - len(failed)
        if missing:
            notes.append(f"{missing} of {len(self.cells)} cells are not complete yet.")
        return notes


def _settings(args: argparse.Namespace, presets: Sequence[Preset]) -> Settings:
    device = args.device
    if device is None:
        device = os.environ.get("LOCAL_RANK", "0")
    return Settings(
        output=args.output.resolve(),
        demos=args.demos,
        image_size=args.image_size or image_size(presets),
        episodes=args.episodes,
        episode_length=args.episode_length,
        experiment_options=" ".join(args.exp_cfg_opts.split()),
        second_stage_options=" ".join(args.plus_cfg_opts.split()),
        network_options=" ".join(args.mvt_cfg_opts.split()),
        workers=args.workers,
        device=device,
    )


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" + "s" * (number != 1)


if __name__ == "__main__":
    sys.exit(main())
