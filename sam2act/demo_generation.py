"""Making data sets of scripted demonstrations: jobs, workers, resuming, summaries.

Used by `scripts/generate_demos.py`. Episode `i` of a task is a function of (seed, task, i), so the
result does not depend on the number of workers or on interruptions.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam2act.data.demo_folders import EPISODES_FOLDER
from sam2act.data.demo_writer import write_episode
from sam2act.data.keyframes import find_keyframes
from sam2act.envs.base import CAMERAS, POLICY_CAMERAS, EnvConfig, EnvError
from sam2act.envs.registry import make_env

RETRY_SEED_STEP = 1_000_003
LOG_FILE = "generation.jsonl"  # per task: the options, then one row per finished episode
SUMMARY_FILE = "summary.json"
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class GenerationError(ValueError):
    """The request cannot be carried out; the message names the remedy."""


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
        max_attempts: tries per episode, each with another seed.
        perturbations: factors of `sam2act.envs.embedded.perturbations`.
    """

    tasks: tuple[str, ...]
    episodes: int
    output: Path
    seed: int = 0
    images: str = "keyframes"
    image_size: int = 128
    max_attempts: int = 10
    perturbations: tuple[str, ...] = ()

    @property
    def cameras(self) -> tuple[str, ...]:
        """With all images RLBench's complete set; else what training reads."""
        return CAMERAS if self.images == "all" else POLICY_CAMERAS

    def env_config(self, task: str) -> EnvConfig:
        """The environment that demos of `task` are recorded in."""
        return EnvConfig(
            task,
            cameras=self.cameras,
            image_size=self.image_size,
            masks=self.images == "all",
            perturbations=self.perturbations,
        )

    def episode_folder(self, task: str, episode: int) -> Path:
        """Where an episode is stored."""
        return self.output / task / EPISODES_FOLDER / f"episode{episode}"

    def options(self) -> dict[str, Any]:
        """What must be equal for episodes to belong to the same data set."""
        names = ("seed", "images", "image_size", "perturbations", "max_attempts")
        return {name: _plain(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class Job:
    """One episode to make."""

    request: Request
    task: str
    episode: int


@dataclass
class Row:
    """What became of an episode.

    Attributes:
        seed: of the attempt that succeeded, None if none did.
        attempts: number of tries.
        failures: why the others failed, in order.
        seconds: wall time of all tries and of writing.
    """

    task: str
    episode: int
    variation: int
    seed: int | None
    attempts: int
    failures: list[str] = field(default_factory=list)
    frames: int = 0
    keyframes: list[int] = field(default_factory=list)
    instruction: str = ""
    seconds: float = 0.0


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# --------------------------------------------------------------------------- one episode
def episode_variation(request: Request, task: str, episode: int, count: int) -> int:
    """The variation of an episode: all `count` of them in turn, in a shuffled order."""
    order = np.random.default_rng([request.seed, zlib.crc32(task.encode())]).permutation(count)
    return int(order[episode % count])


def episode_seed(request: Request, task: str, episode: int) -> int:
    """The seed of the first attempt."""
    source = np.random.SeedSequence([request.seed, zlib.crc32(task.encode()), episode])
    return int(source.generate_state(1)[0])


_make_env_once = functools.cache(make_env)  # per worker process; building one takes 50 ms


def make_episode(job: Job) -> Row:
    """Record and store one episode; failed attempts are repeated with other seeds."""
    request, task = job.request, job.task
    config = request.env_config(task)
    env = _make_env_once(config)
    variation = episode_variation(request, task, job.episode, env.variation_count())
    row = Row(task, job.episode, variation, None, 0)
    started = time.perf_counter()
    while row.seed is None and row.attempts < request.max_attempts:
        seed = episode_seed(request, task, job.episode) + row.attempts * RETRY_SEED_STEP
        row.attempts += 1
        try:
            demo = env.get_demo(variation, seed, request.images)
        except EnvError as error:
            row.failures.append(f"{type(error).__name__}: {error}")
            continue
        row.seed, row.frames = seed, len(demo)
        velocities = np.stack([o.joint_velocities for o in demo])
        row.keyframes = find_keyframes(velocities, [o.gripper_open for o in demo])
        row.instruction = env.instructions[0]
        folder = request.episode_folder(task, job.episode)
        write_episode(folder, demo, env.instructions, config.cameras)
    row.seconds = time.perf_counter() - started
    return row


# ------------------------------------------------------------------------------ data sets
def generate(request: Request, workers: int) -> Iterator[Row]:
    """Make every episode that is not there yet; rows in the order in which they are finished.

    Raises:
        GenerationError: the output folder holds demos made with other options.
    """
    jobs = [
        Job(request, task, episode)
        for task in request.tasks
        for episode in missing_episodes(request, task)
    ]
    for row in _run(jobs, workers):
        _append(request.output / row.task / LOG_FILE, asdict(row))
        yield row


def _run(jobs: Sequence[Job], workers: int) -> Iterator[Row]:
    if workers <= 1 or len(jobs) <= 1:
        yield from map(make_episode, jobs)
        return
    context = multiprocessing.get_context("spawn")  # forking is unsafe once torch has threads
    with _single_threaded_children(), ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(make_episode, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Workers share the cores among themselves; threads inside them would only compete."""
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def missing_episodes(request: Request, task: str) -> list[int]:
    """Numbers of the episodes of `task` that are still to be made.

    Raises:
        GenerationError: the log of the task was written with other options.
    """
    finished = {row.episode for row in finished_rows(request, task)}
    return [episode for episode in range(request.episodes) if episode not in finished]


def finished_rows(request: Request, task: str) -> list[Row]:
    """Rows of the requested episodes that are there, by number.

    Raises:
        GenerationError: the log of the task was written with other options.
    """
    rows = read_rows(request, task)
    return [row for row in rows if row.seed is not None and _folder(request, row).is_dir()]


def _folder(request: Request, row: Row) -> Path:
    return request.episode_folder(row.task, row.episode)


def read_rows(request: Request, task: str) -> list[Row]:
    """The last row of every requested episode, by number; starts a log if there is none.

    Raises:
        GenerationError: the log was written with other options, or demos lie there without a log.
    """
    path = request.output / task / LOG_FILE
    if not path.exists():
        if (request.output / task / EPISODES_FOLDER).is_dir():
            raise GenerationError(
                f"{path}: no such file, although there are demos beside it: they come from "
                "elsewhere; choose another output folder"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, {"options": request.options()})
    records = list(_read_json_lines(path))
    options = records[0].get("options") if records else None
    if options != request.options():
        raise GenerationError(
            f"{path}: these demos were made with {options}, not with {request.options()}; use the "
            "same options to add episodes, or another output folder"
        )
    rows = {record["episode"]: Row(**record) for record in records[1:]}
    return [row for episode, row in sorted(rows.items()) if episode < request.episodes]


def _read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a line cut off by an interruption
            yield json.loads(line)


def _append(path: Path, record: dict[str, Any]) -> None:
    """Add a line; one that an interruption cut off is ended first."""
    cut_off = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as stream:
        stream.write("\n" * cut_off + json.dumps(record) + "\n")


def summarise(request: Request) -> dict[str, dict[str, Any]]:
    """Per task: requested, first-attempt and total successes, seconds, keyframes, failures."""
    return {task: _summary(request, task) for task in request.tasks}


def _summary(request: Request, task: str) -> dict[str, Any]:
    rows = finished_rows(request, task)
    failures = (cause for row in read_rows(request, task) for cause in row.failures)
    return {
        "requested": request.episodes,
        "succeeded_at_first_attempt": sum(row.attempts == 1 for row in rows),
        "succeeded": len(rows),
        "seconds_per_demo": _mean(row.seconds for row in rows),
        "frames": _mean(row.frames for row in rows),
        "keyframes": _mean(len(row.keyframes) for row in rows),
        "failure_causes": dict(Counter(failures).most_common()),
    }


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return round(float(np.mean(values)), 3) if values else 0.0


def write_summary(request: Request) -> Path:
    """Write `summary.json` atomically; tasks of earlier calls are kept."""
    path = request.output / SUMMARY_FILE
    content: dict[str, Any] = {}
    if path.exists():
        with contextlib.suppress(json.JSONDecodeError):
            content = json.loads(path.read_text())
    content.update(summarise(request))
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)
    return path
