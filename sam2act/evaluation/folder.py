"""The episodes of one folder of results: their scenes, running what is missing, the tables."""

from __future__ import annotations

import datetime
import functools
import math
import os
import platform
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sam2act import __version__
from sam2act.core.actions import KEYFRAME_POSE
from sam2act.core.errors import MissingSimulatorError
from sam2act.core.run_folder import RunFolder
from sam2act.core.tasks import CHANCE
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.base import EnvConfig
from sam2act.envs.registry import Perturbs, check_tasks, env_spec, get_backend
from sam2act.evaluation import results
from sam2act.evaluation.actors import Actor
from sam2act.evaluation.analysis.eval_info import write_eval_info
from sam2act.evaluation.analysis.eval_log import write_eval_log
from sam2act.evaluation.analysis.first_guesses import count_guesses
from sam2act.evaluation.analysis.tables import table_text, write_published_table
from sam2act.evaluation.environment import backend_options, environment_of, settings_of
from sam2act.evaluation.latency import write_latency
from sam2act.evaluation.options import AUTO, EvaluationOptions, OptionError
from sam2act.evaluation.results import EpisodeRow, RowWriter
from sam2act.evaluation.runner import Runner, RunOptions
from sam2act.evaluation.scene_checks import Check, DemoCheck, usable_scenes
from sam2act.evaluation.scenes import (
    EpisodeStart,
    demo_scenes,
    fresh_scenes,
    longest_demo,
    recorded_backend,
)
from sam2act.evaluation.worker import SimulatorProcess
from sam2act.policies.checkpoint import write_config
from sam2act.runtime.distributed import DistributedContext

MOST_WORKERS = 4  # by default, where the batch is smaller
GPU_BATCH = 8
KEYFRAMES, DENSE_STEPS = 25, 400  # most actions of an episode, by default
PACKAGES = ("torch", "numpy", "mujoco-core", "mujoco", "rlbench")


def batch_size(options: EvaluationOptions, world: DistributedContext) -> int:
    """Rows of a forward pass: as asked for, else what suits the device."""
    return options.batch_size or (1 if world.device.type == "cpu" else GPU_BATCH)


class EvaluationFolder:
    """One repeat: all episodes of all tasks, and the folder of their results."""

    def __init__(
        self,
        options: EvaluationOptions,
        world: DistributedContext,
        name: str,
        repeat: int,
        also: Check | None = None,
    ) -> None:
        """Find the scenes and look at all their demos.

        Args:
            options: what is asked for.
            world: this process.
            name: log name, folder below eval/.
            repeat: number of the repeat; fresh scenes are those of `--seed` plus this.
            also: what else must be possible with the demos.

        Raises:
            OptionError, SceneError: the options do not fit the demos, or a demo cannot be used.
        """
        self._options, self._world, self._tasks = options, world, options.task_list()
        self._root = RunFolder(options.model_folder).evaluations / name
        self._seed = None if options.seed is None else options.seed + repeat
        self._scenes = [scene for task in self._tasks for scene in self._scenes_of(task)]
        self._backend = self._choose_backend()
        self._check_backend()
        given, opts = options.env_options, options.env_opts
        self._env_options = backend_options(self._backend, given, opts)
        self._perturbations = getattr(self._env_options, "perturbations", ())
        restore = not self._perturbations
        self._scenes = [replace(scene, restore=restore) for scene in self._scenes]
        self._perturbed = self._acting_factors()
        check = DemoCheck(self._backend, also=also)
        self._scenes, self._skipped = usable_scenes(
            self._scenes, check, skip_bad=options.skip_bad_episodes, progress=world.is_main
        )

    def _scenes_of(self, task: str) -> list[EpisodeStart]:
        options = self._options
        first, count = options.start_episode, options.eval_episodes
        if self._seed is not None:
            scenes = fresh_scenes(task, self._seed, range(first, first + count))
        else:
            folder, gaps = options.eval_datafolder, options.skip_bad_episodes
            scenes = demo_scenes(folder, task, first, count, restore=True, gaps=gaps)
        filmed = count if options.save_video is None else options.save_video
        return [replace(scene, film=i < filmed) for i, scene in enumerate(scenes)]

    def _choose_backend(self) -> str:
        """The backend that was named, else the one of the demos."""
        if self._options.backend != AUTO:
            return self._options.backend
        found = {
            _recorded_backend([scene for scene in self._scenes if scene.task == task])
            for task in self._tasks
        }
        if len(found) > 1:
            raise OptionError(
                f"the demos come from several simulators ({', '.join(sorted(found))}): evaluate "
                "their tasks one after the other"
            )
        return found.pop()

    def _check_backend(self) -> None:
        try:
            check_tasks(self._backend, self._options.tasks)
        except MissingSimulatorError:
            raise
        except ValueError as error:
            raise OptionError(f"--tasks: {error}") from error
        backend = get_backend(self._backend)
        if self._options.save_video != 0 and not getattr(backend, "FILMS", False):
            raise OptionError(f"backend {self._backend} cannot be filmed; leave --save-video out")
        same = getattr(backend, "DETERMINISTIC", False)
        if self._options.repeats > 1 and same and self._seed is None:
            raise OptionError(
                f"--repeats: backend {self._backend} gives the same results on the same demos; "
                f"repeat on new scenes with --backend {self._backend} --seed N"
            )

    def _acting_factors(self) -> dict[str, list[str]]:
        """By which factors each task is perturbed."""
        backend = get_backend(self._backend)
        if not self._perturbations or not isinstance(backend, Perturbs):
            return {}
        try:
            return backend.perturbed_by(self._tasks, self._perturbations)
        except ValueError as error:
            raise OptionError(f"--perturb: {error}") from error

    # -------------------------------------------------------------------------- before
    def check(self, stem: str, identity: dict[str, Any], actor: Actor | None = None) -> None:
        """Make sure that what lies in the folder of `stem` may be continued or skipped.

        Args:
            stem: name of the folder.
            identity: of the checkpoint, as far as it is known.
            actor: who will act, if known.

        Raises:
            OptionError: there are finished episodes, and nobody said what to do with them.
            SpecError: the actor cannot act in the backend.
            ResultsError: they belong to another evaluation.
        """
        folder, options = self._root / stem, self._options
        results.check_same(folder, self._description(stem, identity, actor))
        known = results.read_rows(folder)
        if known and not options.resume and not (options.skip and self.is_complete(stem)):
            raise OptionError(
                f"{folder} holds {len(known)} finished episodes: add --resume to keep them, or "
                "choose another --log-name"
            )

    def is_complete(self, stem: str) -> bool:
        """Whether every episode has its row."""
        return not self._missing(results.read_rows(self._root / stem))

    def _missing(self, known: Sequence[EpisodeRow]) -> list[EpisodeStart]:
        finished = {row.key for row in known if not row.is_lost}
        return [scene for scene in self._scenes if (scene.task, scene.episode) not in finished]

    def rows(self, stem: str) -> list[EpisodeRow]:
        """All episodes in the folder of `stem`, tasks in the order of their evaluation."""
        folder = self._root / stem
        tasks = results.read_description(folder)["settings"]["tasks"]
        return sorted(results.read_rows(folder), key=lambda row: tasks.index(row.task))

    # ------------------------------------------------------------------------- running
    def run(self, actor: Actor, stem: str, identity: dict[str, Any]) -> None:
        """Run what is not finished, and write the tables; nothing is written before a row is."""
        folder, world = self._root / stem, self._world
        description = self._description(stem, identity, actor)

        def describe() -> None:
            results.describe(folder, description)
            write_config(self._root / "eval_config.yaml", self._options.as_dict())

        missing = self._missing(results.read_rows(folder))
        # Neighbours, so that the episodes of a process take different rows of its batch.
        first, end = (len(missing) * rank // world.size for rank in (world.rank, world.rank + 1))
        world.barrier()  # nobody may write before everybody has seen what is missing
        writer = RowWriter(folder / results.rows_file(world.rank), before=describe)
        rows = self._run_share(actor, writer, missing[first:end])
        gathered = world.gather_to_main(rows)
        if not world.is_main:
            return
        self._store_rows_of_others(writer, gathered)
        describe()  # also where nothing was missing
        stored = self.rows(stem)
        write_published_table(folder, stored)
        write_eval_info(folder, stored)
        write_eval_log(folder, stored)
        self._measure_latency(actor, folder)
        guesses = count_guesses(stored, results.read_targets(folder))
        print(f"{folder}\n{table_text(stored, guesses)}")

    def _measure_latency(self, actor: Actor, folder: Path) -> None:
        """Store the time of a forward pass, if it is asked for; no simulator runs any more."""
        time_passes = getattr(actor, "time_passes", None)
        if self._options.measure_latency and time_passes is not None:
            rows, device = batch_size(self._options, self._world), _device_name(self._world.device)
            write_latency(folder, time_passes, rows=rows, device=device)

    @staticmethod
    def _store_rows_of_others(writer: RowWriter, gathered: Sequence[Sequence[EpisodeRow]]) -> None:
        """Rows that other nodes wrote where this one cannot see them."""
        stored = results.read_rows(writer.path.parent)
        seen = {row.key for row in stored if not row.is_lost}
        for row in (row for rows in gathered for row in rows):
            if row.key not in seen:
                writer.write(row)

    def _run_share(
        self, actor: Actor, writer: RowWriter, scenes: Sequence[EpisodeStart]
    ) -> list[EpisodeRow]:
        """This process's share of the episodes."""
        if not scenes:
            return []
        folder = writer.path.parent
        config = self._environment(folder.name, actor)
        simulators = self._open_simulators(config, len(scenes))
        options = RunOptions(
            episode_length=self._episode_length(config, actor),
            success_threshold=env_spec(config).success_threshold,
            batch_size=batch_size(self._options, self._world),
            folder=folder,
            film_suffix=".mp4" if find_spec("av") else ".webp",
            skip_bad=self._options.skip_bad_episodes,
            wording=self._options.wording,
        )
        rows: list[EpisodeRow] = []
        try:
            with tqdm(
                total=len(scenes),
                desc=folder.name,
                unit="episode",
                disable=not self._world.is_main,
            ) as progress:
                for row in Runner(simulators, actor, options).run(scenes):
                    writer.write(row)
                    rows.append(row)
                    progress.update()
                    progress.set_postfix(success=f"{statistics.fmean(r.success for r in rows):.0%}")
                    tqdm.write(_line(row))
        finally:
            for simulator in simulators:
                simulator.close()
        return rows

    def _environment(self, stem: str, actor: Actor) -> EnvConfig:
        """The environment in which the policy of `stem` acts."""
        first, options = self._tasks[0], self._env_options
        return environment_of(actor.spec, first, self._backend, options, checkpoint=stem)

    def _episode_length(self, config: EnvConfig, actor: Actor) -> int:
        """Most actions of an episode: as asked for, else what suits the control mode."""
        options, of_keyframes = self._options, actor.spec.action.mode == KEYFRAME_POSE.mode
        if options.demo_lengths and of_keyframes:
            raise OptionError(
                "--demo-lengths counts frames, but the policy acts in keyframes; use "
                "--episode-length"
            )
        if options.demo_lengths:
            return math.ceil(options.demo_lengths * self._longest_demo)
        if options.episode_length is not None:
            return options.episode_length
        if of_keyframes:
            return KEYFRAMES
        return env_spec(config).episode_length or DENSE_STEPS

    @functools.cached_property
    def _longest_demo(self) -> int:
        """Frames."""
        return max(longest_demo(self._options.eval_datafolder, task) for task in self._tasks)

    def _open_simulators(self, config: EnvConfig, episodes: int) -> list[SimulatorProcess]:
        wanted = self._options.workers or self._automatic_workers()
        limit = self._options.time_limit
        return [SimulatorProcess(config, limit) for _ in range(min(wanted, episodes))]

    def _automatic_workers(self) -> int:
        chosen = getattr(get_backend(self._backend), "AUTOMATIC_PROCESSES", None)
        if chosen is not None:
            return int(chosen)
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        cores = max((os.cpu_count() or 1) // neighbours, 1)
        return min(cores, max(batch_size(self._options, self._world), MOST_WORKERS))

    def _description(
        self, stem: str, identity: dict[str, Any], actor: Actor | None
    ) -> dict[str, Any]:
        options = self._options
        data = None if self._seed is not None else str(options.eval_datafolder.resolve())
        return {
            "format": results.FORMAT,
            "settings": {
                "tasks": self._tasks,
                "data": data,
                "seed": self._seed,
                "start_episode": options.start_episode,
                "eval_episodes": options.eval_episodes,
                "batch_size": batch_size(options, self._world),
                **({"wording": options.wording} if options.wording else {}),
                **self._acting_settings(stem, actor),
                "exp_cfg_path": options.exp_cfg_path,
                "mvt_cfg_path": options.mvt_cfg_path,
            },
            "perturbed": self._perturbed,
            "checkpoint": identity,
            "skipped": {f"{s.task}/{s.episode}": text for s, text in self._skipped.items()},
            "chance": {t: CHANCE[t] for t in self._tasks if t in CHANCE},
            "versions": _versions(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"{self._world.size} processes on {_device_name(self._world.device)}",
            "date": datetime.date.today().isoformat(),
        }

    def _acting_settings(self, stem: str, actor: Actor | None) -> dict[str, Any]:
        """The settings that depend on who acts, as far as they are known."""
        if actor is None:
            asked = {
                "episode_length": self._options.episode_length,
                "executor": self._options.executor or None,
            }
            return {key: value for key, value in asked.items() if value is not None}
        config = self._environment(stem, actor)
        return {
            "episode_length": self._episode_length(config, actor),
            "control": actor.spec.action.mode,
            "executor": self._options.executor or actor.spec.executor,
            **settings_of(config, self._options.env_options),
        }


def _recorded_backend(scenes: Sequence[EpisodeStart]) -> str:
    """The backend of the first demo that can be read."""
    for scene in scenes[:-1]:
        with suppress(DemoError):
            return recorded_backend(scene)
    return recorded_backend(scenes[-1])


def _line(row: EpisodeRow) -> str:
    cause = f", {row.failure}" if row.failure else ""
    return (
        f"{row.task} episode {row.episode} (variation {row.variation}): score {row.reward:.0f}, "
        f"{row.steps} steps{cause}, “{row.instruction}”"
    )


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
