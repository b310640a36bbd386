"""Making data sets of scripted demonstrations: episodes, retries, workers, resuming.

Used by `sam2act demos`. Episode `i` of a task is a function of (seed, task, i), so the
result does not depend on the number of workers or on interruptions.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

from sam2act.core.tasks import POLICY_CAMERAS
from sam2act.data.rlbench.demo_folders import variation_above
from sam2act.data.rlbench.demo_images import IMAGE_KINDS, check_png, image_path
from sam2act.data.rlbench.demo_writer import write_descriptions, write_episode
from sam2act.data.rlbench.keyframes import demo_keyframes, frames_with_images
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.base import (
    CAMERAS,
    IMAGE_POLICIES,
    EnvConfig,
    EnvError,
    scripted,
)
from sam2act.envs.embedded.options import Options
from sam2act.envs.recording import generation_log
from sam2act.envs.recording.generation_log import GenerationError, Row
from sam2act.envs.registry import make_env
from sam2act.envs.seeding import episode_seed, episode_variation
from sam2act.runtime.processes import ignore_interrupts, single_threaded_children

LOGGER = logging.getLogger(__name__)
RETRY_SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Request:
    """What to generate.

    Attributes:
        tasks: names of tasks of the embedded simulator.
        episodes: number of demos per task.
        output: folder of the split; demos go to `<output>/<task>/all_variations/episodes/`.
        seed: of the whole data set.
        images: image policy, see `sam2act.envs.base.IMAGE_POLICIES`.
        image_size: pixels per side.
        max_attempts: tries per episode and call, each with another seed.
        perturbations: factors of `sam2act.envs.embedded.perturbations.factors`.
    """

    tasks: tuple[str, ...]
    episodes: int
    output: Path
    seed: int = 0
    images: str = "keyframes"
    image_size: int = 128
    max_attempts: int = 10
    perturbations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise GenerationError(f"seed: {self.seed} is negative")
        if self.images not in IMAGE_POLICIES:
            raise GenerationError(f"images: {self.images} is none of {', '.join(IMAGE_POLICIES)}")
        try:
            for task in self.tasks:
                self.env_config(task)
        except ValueError as error:
            raise GenerationError(str(error)) from error

    @property
    def cameras(self) -> tuple[str, ...]:
        """With all images RLBench's complete set; else what training reads."""
        return CAMERAS if self.images == "all" else POLICY_CAMERAS

    @property
    def options(self) -> dict[str, Any]:
        """What must be equal for episodes to belong to the same data set."""
        return {
            "seed": self.seed,
            "images": self.images,
            "image_size": self.image_size,
            "perturbations": list(self.perturbations),
        }

    def env_config(self, task: str) -> EnvConfig:
        """The environment that demos of `task` are recorded in."""
        return EnvConfig(
            task,
            cameras=self.cameras,
            image_size=self.image_size,
            masks=self.images == "all",
            options=Options(perturbations=self.perturbations),
        )

    def episode_folder(self, task: str, episode: int) -> Path:
        """Where an episode is stored."""
        return generation_log.episode_folder(self.output, task, episode)

    def finished_rows(self, task: str) -> list[Row]:
        """Rows of the requested episodes that are there, by number.

        Raises:
            GenerationError: the demos of the task were made with other options.
        """
        rows = generation_log.finished_rows(self.output, task, self.options)
        return [row for row in rows if row.episode < self.episodes]

    def summary(self, task: str) -> dict[str, Any]:
        """Requested, first-attempt and total successes, seconds, keyframes, causes of failure."""
        rows = generation_log.read_rows(self.output, task, self.options).values()
        wanted = [row for row in rows if row.episode < self.episodes]
        return generation_log.summarise(wanted, self.episodes, self.finished_rows(task))


@dataclass(frozen=True)
class Job:
    """One episode to make; `before` is what earlier calls tried in vain."""

    request: Request
    task: str
    episode: int
    before: Row | None = None


# --------------------------------------------------------------------------- one episode
_make_env_once = functools.lru_cache(maxsize=2)(make_env)  # building one takes 50 ms


def make_episode(job: Job) -> Row:
    """Record and store one episode; failed attempts are repeated with other seeds.

    Raises:
        OSError: it cannot be written.
        RuntimeError: a programming error; the message names the episode.
    """
    request, task = job.request, job.task
    env = _make_env_once(request.env_config(task))
    variation = episode_variation(request.seed, task, job.episode, env.variation_count())
    row = replace(job.before or Row(task, job.episode, variation))
    row.failures = list(row.failures)
    started, first_seed = time.perf_counter(), episode_seed(request.seed, task, job.episode)
    for _ in range(request.max_attempts):
        seed = first_seed + row.attempts * RETRY_SEED_STEP
        row.attempts += 1
        try:
            _record(job, row, seed)
        except EnvError as error:
            row.failures.append(f"{type(error).__name__}: {error}")
        except OSError:
            raise
        except Exception as error:
            raise RuntimeError(
                f"{task}, episode {job.episode}, variation {variation}, seed {seed}: "
                f"{type(error).__name__}: {error}"
            ) from error
        else:
            row.seed = seed
            break
    row.seconds += time.perf_counter() - started
    return row


def _record(job: Job, row: Row, seed: int) -> None:
    """One attempt; fills in `row` and writes the episode if it succeeds."""
    request = job.request
    env = scripted(_make_env_once(request.env_config(job.task)), "backend embedded")
    demo = env.get_demo(row.variation, seed, request.images)
    row.frames, row.keyframes = len(demo), demo_keyframes(demo)
    row.instruction = env.instructions[0]
    folder = request.episode_folder(job.task, job.episode)
    write_episode(folder, demo, env.instructions, request.cameras)
    if variation_above(folder) is not None:
        write_descriptions(folder.parent.parent, env.instructions)


# ------------------------------------------------------------------------------ data sets
def damage(request: Request, row: Row) -> str:
    """What is wrong with the finished episode that `row` describes; empty if nothing is.

    Its pickles are read, the checksums of its images are compared.
    """
    from sam2act.data.rlbench.demos import read_episode  # with torch, which workers do without

    folder = request.episode_folder(row.task, row.episode)
    kinds = (*IMAGE_KINDS, "mask") if request.images == "all" else IMAGE_KINDS
    try:
        episode = read_episode(folder)
        frames = frames_with_images(list(episode.demo), request.images)
        for camera, kind, frame in product(request.cameras, kinds, frames):
            check_png(image_path(folder, camera, kind, frame), request.image_size)
    except DemoError as error:
        return str(error)
    found = (len(episode.demo), episode.variation_number, episode.instruction)
    if found != (row.frames, row.variation, row.instruction):
        return f"{folder}: holds another episode than {generation_log.LOG_FILE} says"
    return ""


def missing_jobs(request: Request) -> list[Job]:
    """The episodes that are still to be made, damaged ones (which are named) among them.

    Raises:
        GenerationError: the demos of a task were made with other options.
    """
    jobs = []
    for task in request.tasks:
        rows = generation_log.read_rows(request.output, task, request.options)
        finished = set()
        for row in request.finished_rows(task):
            problem = damage(request, row)
            if problem:
                LOGGER.warning("%s, episode %d is made again: %s", task, row.episode, problem)
            else:
                finished.add(row.episode)
        for episode in range(request.episodes):
            if episode not in finished:
                earlier = rows.get(episode)
                before = earlier if earlier is not None and earlier.seed is None else None
                jobs.append(Job(request, task, episode, before))
    return jobs


def generate(request: Request, workers: int, jobs: Sequence[Job] | None = None) -> Iterator[Row]:
    """Make every episode that is not there yet; rows in the order in which they are finished.

    Args:
        request: what to generate.
        workers: processes.
        jobs: result of `missing_jobs`, if that is known already.

    Each row is in the log before it is given, and what workers have begun when this is interrupted
    is finished and logged.

    Raises:
        GenerationError: the demos of a task were made with other options.
        BrokenProcessPool: a worker was killed.
    """
    if jobs is None:
        jobs = missing_jobs(request)

    def keep(row: Row) -> None:
        generation_log.append_row(request.output, row, request.options)

    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            row = make_episode(job)
            keep(row)
            yield row
    else:
        yield from _run_workers(jobs, workers, keep)


def _run_workers(jobs: Sequence[Job], workers: int, keep: Callable[[Row], None]) -> Iterator[Row]:
    context = multiprocessing.get_context("spawn")  # forking is unsafe once torch has threads
    waiting = iter(jobs)
    running: set[Future[Row]] = set()
    with (
        single_threaded_children(),
        ProcessPoolExecutor(workers, context, initializer=ignore_interrupts) as pool,
    ):
        try:
            running |= {pool.submit(make_episode, job) for job in islice(waiting, workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(make_episode, job) for job in islice(waiting, len(done))}
                rows = [future.result() for future in done]
                for row in rows:
                    keep(row)
                yield from rows
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for future in running:
                if not future.cancelled() and future.exception() is None:
                    keep(future.result())
