"""One call of eval.py: options, actors, episodes, tables."""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sam2act import __version__
from sam2act.config.load import load_experiment, load_network
from sam2act.config.tasks import MEMORYBENCH_TASKS, RLBENCH_TASKS
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import check_task
from sam2act.evaluation import results
from sam2act.evaluation.actors import Actor, DemoActor, PolicyActor
from sam2act.evaluation.checkpoints import find_checkpoints, identify
from sam2act.evaluation.results import EpisodeRow, RowWriter
from sam2act.evaluation.runner import Runner, RunOptions
from sam2act.evaluation.scenes import Scene, demo_scenes, fresh_scenes, recorded_backend
from sam2act.evaluation.simulator import Simulator
from sam2act.language.text_encoder import build_text_encoder
from sam2act.policy.checkpoint import load_policy, write_config
from sam2act.policy.executor import SingleExecutor
from sam2act.policy.ideal import IdealDecoder
from sam2act.policy.inference import KeyframePolicy
from sam2act.training.distributed import World

LOGGER = logging.getLogger(__name__)
GROUND_TRUTH = "ground_truth"
MOST_WORKERS = 4
GPU_BATCH = 8
PACKAGES = ("torch", "numpy", "mujoco-core", "mujoco", "rlbench")


class OptionError(ValueError):
    """The options contradict each other; the message says what to change."""


def evaluate(args: argparse.Namespace, world: World) -> dict[str, list[float]]:
    """Everything that the flags ask for; success rates in percent per checkpoint, one per repeat.

    Raises:
        OptionError, SceneError, EvaluationError and others: see their messages.
    """
    check_options(args)
    tasks = task_list(args.tasks)
    names = log_names(args)
    if args.ground_truth:
        targets: list[Path | None] = [None]
    else:
        targets = list(find_checkpoints(args.model_folder, args.model_name))
    plans = [_Plan(args, world, tasks, name, repeat) for repeat, name in enumerate(names)]
    rates: dict[str, list[float]] = {}
    for target in targets:
        stem = target.stem if target else GROUND_TRUTH
        unfinished = [plan for plan in plans if not (args.skip and plan.is_complete(stem))]
        if not unfinished:
            LOGGER.info("%s: complete already, skipped", stem)
            continue
        actor, checkpoint = _make_actor(args, target, world)
        for plan in unfinished:
            summaries = plan.run(actor, stem, checkpoint)
            rates.setdefault(stem, []).append(
                statistics.fmean(summary.success_rate for summary in summaries)
            )
    return rates


# ------------------------------------------------------------------------------- options
def check_options(args: argparse.Namespace) -> None:
    """Raise `OptionError` where flags contradict each other."""
    if args.peract_official:
        raise OptionError("--peract_official: the PerAct baseline is not part of this project")
    if args.model_folder is None:
        raise OptionError("--model-folder is missing: the folder of the run, or for --ground-truth")
    if not args.model_name and not args.ground_truth:
        raise OptionError(
            "--model-name is missing: a checkpoint of --model-folder such as model_last.pth, or all"
        )
    if args.model_name and args.ground_truth:
        raise OptionError("--ground-truth uses no checkpoint: leave --model-name out")
    if args.seed is not None and args.ground_truth:
        raise OptionError("--ground-truth replays recorded demos: leave --seed out")
    if args.seed is not None and args.backend == "auto":
        raise OptionError("--seed has no demos to tell the simulator: add --backend embedded")
    if args.use_input_place_with_mean:
        LOGGER.warning("--use-input-place-with-mean has no effect on two-stage networks")


def task_list(names: Sequence[str]) -> list[str]:
    """Task names; `all` and `memorybench` in first place stand for sets.

    Raises:
        OptionError: a task twice.
    """
    sets = {"all": RLBENCH_TASKS, "memorybench": MEMORYBENCH_TASKS}
    tasks = [task for name in names for task in sets.get(name, (name,))]
    if len(set(tasks)) < len(tasks):
        raise OptionError(f"--tasks {' '.join(names)}: a task is named twice")
    return tasks


def log_names(args: argparse.Namespace) -> list[str]:
    """Folders below eval/, one per repeat."""
    if args.repeats == 1:
        return [args.log_name]
    return [f"{args.log_name}/{number}" for number in range(1, args.repeats + 1)]


# -------------------------------------------------------------------------------- actors
def _make_actor(
    args: argparse.Namespace, checkpoint: Path | None, world: World
) -> tuple[Actor, dict[str, Any]]:
    """Who acts, and what identifies it."""
    if checkpoint is None:
        experiment_file, network_file = _configs_of(args)
        experiment = load_experiment(experiment_file)
        network = load_network(network_file or "configs/mvt/sam2act.yaml")
        grid = {"img_size": network.img_size, "st_sca": network.st_sca, "num_rot": network.num_rot}
        return DemoActor(IdealDecoder(experiment, network)), {"name": GROUND_TRUTH, **grid}
    bundle = load_policy(
        checkpoint,
        device=world.device,
        experiment_file=args.exp_cfg_path,
        network_file=args.mvt_cfg_path,
    )
    network = bundle.network
    encoder = build_text_encoder(bundle.experiment.language, network.lang_len, network.lang_dim)
    policy = KeyframePolicy(bundle, batch_size=batch_size(args, world), text_encoder=encoder)
    actor = PolicyActor(SingleExecutor(policy), policy.spec)
    return actor, identify(checkpoint, bundle.step)


def _configs_of(args: argparse.Namespace) -> tuple[str, str]:
    """Config files for ground truth: as given, else of the run folder, else "" (published)."""
    given = (args.exp_cfg_path, args.mvt_cfg_path)
    of_run = (args.model_folder / "exp_cfg.yaml", args.model_folder / "mvt_cfg.yaml")
    experiment, network = (
        path or (str(file) if file.is_file() else "")
        for path, file in zip(given, of_run, strict=True)
    )
    return experiment, network


def batch_size(args: argparse.Namespace, world: World) -> int:
    """Rows of a forward pass: as asked for, else what suits the device."""
    return args.batch_size or (1 if world.device.type == "cpu" else GPU_BATCH)


# ------------------------------------------------------------------------------- episodes
class _Plan:
    """One evaluation folder: the episodes of all tasks with one set of scenes."""

    def __init__(
        self, args: argparse.Namespace, world: World, tasks: list[str], name: str, repeat: int
    ) -> None:
        self._args, self._world, self._tasks = args, world, tasks
        self._root = args.model_folder / "eval" / name
        self._seed = None if args.seed is None else args.seed + repeat
        scenes = {task: self._scenes(task) for task in tasks}
        self._by_task = scenes
        self._backend = self._choose_backend()
        try:
            for task in tasks:
                check_task(self._backend, task)
        except ValueError as error:
            raise OptionError(f"--tasks: {error}") from error

    def _scenes(self, task: str) -> list[Scene]:
        scenes = self._unfilmed_scenes(task)
        filmed = len(scenes) if self._args.save_video is None else self._args.save_video
        return [replace(scene, film=i < filmed) for i, scene in enumerate(scenes)]

    def _unfilmed_scenes(self, task: str) -> list[Scene]:
        args = self._args
        if self._seed is not None:
            numbers = range(args.start_episode, args.start_episode + args.eval_episodes)
            return fresh_scenes(task, self._seed, numbers)
        return demo_scenes(
            args.eval_datafolder,
            task,
            args.start_episode,
            args.eval_episodes,
            restore=not args.perturb,
        )

    def _choose_backend(self) -> str:
        """The backend that was named, else the one of the demos.

        Raises:
            OptionError: the demos come from several.
        """
        if self._args.backend != "auto":
            return str(self._args.backend)
        found = {recorded_backend(scenes[0]) for scenes in self._by_task.values()}
        if len(found) > 1:
            raise OptionError(
                f"the demos come from several simulators ({', '.join(sorted(found))}): evaluate "
                "their tasks one after the other"
            )
        return found.pop()

    def is_complete(self, stem: str) -> bool:
        """Whether every episode has its row."""
        known = {row.key for row in results.read_rows(self._root / stem)}
        scenes = [scene for group in self._by_task.values() for scene in group]
        return all((scene.task, scene.episode) in known for scene in scenes)

    # --------------------------------------------------------------------------- running
    def run(self, actor: Actor, stem: str, checkpoint: dict[str, Any]) -> list[results.TaskSummary]:
        """Run what is not finished, and write the tables; the figures per task."""
        folder, world = self._root / stem, self._world
        known = results.read_rows(folder)
        if known and not self._args.resume:
            raise OptionError(
                f"{folder} holds {len(known)} finished episodes: add --resume to keep them, or "
                "choose another --log-name"
            )
        if world.is_main:
            results.describe(folder, self._description(checkpoint))
            write_config(self._root / "eval_config.yaml", _plain(vars(self._args)))
        world.barrier()
        rows = self._run_missing(actor, folder, known)
        gathered = world.gather_to_main(rows)
        if not world.is_main:
            return results.summarise(rows)
        merged = {row.key: row for part in (known, *gathered) for row in part}
        order = {task: number for number, task in enumerate(self._tasks)}
        wanted = [row for row in merged.values() if row.task in order]
        wanted.sort(key=lambda row: (order[row.task], row.episode))
        summaries = results.summarise(wanted)
        results.write_published_table(folder, summaries)
        print(f"{folder}\n{results.table_text(summaries)}")
        return summaries

    def _run_missing(
        self, actor: Actor, folder: Path, known: Sequence[EpisodeRow]
    ) -> list[EpisodeRow]:
        """This process's share of the episodes that have no row yet."""
        finished = {row.key for row in known}
        scenes = [scene for group in self._by_task.values() for scene in group]
        missing = [scene for scene in scenes if (scene.task, scene.episode) not in finished]
        share = missing[self._world.rank :: self._world.size]
        if not share:
            return []
        simulators = self._open_simulators(actor, len(share))
        writer = RowWriter(folder / results.rows_file(self._world.rank))
        options = RunOptions(
            episode_length=self._args.episode_length,
            batch_size=batch_size(self._args, self._world),
            folder=folder,
            film_suffix=".mp4" if find_spec("av") else ".webp",
        )
        rows: list[EpisodeRow] = []
        try:
            with tqdm(
                total=len(share), desc=folder.name, unit="episode", disable=not self._world.is_main
            ) as progress:
                for row in Runner(simulators, actor, options).run(share):
                    writer.write(row)
                    rows.append(row)
                    progress.update()
                    progress.set_postfix(success=f"{statistics.fmean(r.success for r in rows):.0%}")
                    tqdm.write(_line(row))
        finally:
            for simulator in simulators:
                simulator.close()
        return rows

    def _open_simulators(self, actor: Actor, episodes: int) -> list[Simulator]:
        args = self._args
        automatic = 1 if self._backend == "rlbench" else min(os.cpu_count() or 1, MOST_WORKERS)
        config = EnvConfig(
            task=self._tasks[0],
            backend=self._backend,
            cameras=actor.cameras,
            image_size=actor.image_size,
            perturbations=tuple(args.perturb),
            strict_order=args.strict_order,
        )
        if self._backend == "rlbench":
            config = replace(config, headless=args.headless)
        count = min(args.workers or automatic, episodes)
        return [Simulator(config, args.time_limit) for _ in range(count)]

    def _description(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        args = self._args
        return {
            "format": results.FORMAT,
            "settings": {
                "backend": self._backend,
                "tasks": self._tasks,
                "data": None if self._seed is not None else str(args.eval_datafolder),
                "seed": self._seed,
                "start_episode": args.start_episode,
                "eval_episodes": args.eval_episodes,
                "episode_length": args.episode_length,
                "batch_size": batch_size(args, self._world),
                "perturb": list(args.perturb),
                "strict_order": args.strict_order,
            },
            "checkpoint": checkpoint,
            "chance": {t: results.CHANCE[t] for t in self._tasks if t in results.CHANCE},
            "versions": _versions(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"{self._world.size} processes on {_device_name(self._world.device)}",
            "date": datetime.date.today().isoformat(),
        }


def _line(row: EpisodeRow) -> str:
    cause = f", {row.failure}" if row.failure else ""
    return (
        f"{row.task} episode {row.episode} (variation {row.variation}): score {row.reward:.0f}, "
        f"{row.steps} steps{cause}, “{row.instruction}”"
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _versions() -> dict[str, str]:
    found = {"sam2act": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
