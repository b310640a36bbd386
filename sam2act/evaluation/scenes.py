"""What an evaluation episode starts from: a recorded demo, or a seed. Images are never read."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sam2act.core.errors import UserError
from sam2act.core.frames import HasFrame
from sam2act.core.wording import listing
from sam2act.data.rlbench.demo_folders import (
    episode_folders,
    episodes_below,
    listed,
    tasks_below,
    visible_folders,
)
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.base import Env, NumbersScenes, restorable
from sam2act.envs.recorded import plain_seed, recorded_origin
from sam2act.envs.seeding import episode_seed, episode_variation

if TYPE_CHECKING:
    from sam2act.data.rlbench.demos import Episode

SKIP_FLAG = "--skip-bad-episodes"  # of eval.py
_FRESH = "fresh scenes of the embedded simulator with --backend embedded --seed N"


class SceneError(UserError):
    """There are no such episodes; the message names the folder and the remedy."""


def with_remedy(problem: str) -> str:
    """What is wrong with a demo, and how to go on without it."""
    return f"{problem}; {SKIP_FLAG} leaves such demos out"


@dataclass(frozen=True)
class EpisodeStart:
    """Where an episode starts.

    Attributes:
        task: name of the task.
        episode: number of the episode within the evaluation.
        demo: folder of the recorded demo whose scene is restored, None for a fresh scene.
        seed: of the set of fresh scenes (of its episode `episode`), None with a demo.
        restore: with a demo: restore its scene exactly; False = take its variation and seed only,
            for an environment with other perturbations.
        film: whether the episode is filmed.
    """

    task: str
    episode: int
    demo: Path | None = None
    seed: int | None = None
    restore: bool = True
    film: bool = False

    def begin(self, env: Env) -> tuple[int, int | None, list[str], HasFrame]:
        """Reset `env` to this scene.

        Returns:
            variation, seed (None where the demo holds a generator's state), instructions, the
            first observation.

        Raises:
            DemoError: the demo cannot be read.
            SceneError: its scene is none of this environment.
        """
        if self.demo is None:
            assert self.seed is not None
            seed = _seed_of(env, self.seed, self.task, self.episode)
            variation = episode_variation(self.seed, self.task, self.episode, env.variation_count())
            return variation, seed, *env.reset(variation, seed)
        stored = read_stored(self.demo)
        variation, state = stored.variation_number, stored.random_seed
        stored.demo.variation_number = variation  # recorded RLBench pickles hold 0 there
        try:
            if self.restore:
                known = state if isinstance(state, int) else None
                return variation, known, *restorable(env).reset_to_demo(stored.demo)
            number = plain_seed(state)
            return variation, number, *env.reset(variation, number)
        except ValueError as error:
            raise SceneError(f"{self.demo}: {error}") from error


def _seed_of(env: Env, set_seed: int, task: str, episode: int) -> int:
    if isinstance(env, NumbersScenes):
        return env.seed_of(set_seed, episode)
    return episode_seed(set_seed, task, episode)


@functools.lru_cache(maxsize=2)
def read_stored(folder: Path) -> Episode:
    """The pickles of an episode; no image is touched."""
    from sam2act.data.rlbench.demos import read_episode  # with torch, which fresh scenes do without

    return read_episode(folder)


def fresh_scenes(task: str, seed: int, numbers: Sequence[int]) -> list[EpisodeStart]:
    """New scenes, without demos: episodes `numbers` of the set with seed `seed`."""
    return [EpisodeStart(task, number, seed=seed) for number in numbers]


def demo_scenes(
    folder: Path, task: str, start: int, count: int, *, restore: bool, gaps: bool = False
) -> list[EpisodeStart]:
    """The scenes of `count` demos of `task` from the `start`-th on, in the order of their numbers.

    Args:
        folder: of the split, for example data/test.
        task: name of the task.
        start: position of the first one.
        count: how many.
        restore: see `EpisodeStart`.
        gaps: take the demos that are there, although numbers between them are missing.

    Raises:
        SceneError: there are none, or fewer, numbers between them are missing, or two folders have
            the same number.
    """
    episodes = folder / task / episodes_below(task)
    if not episodes.is_dir():
        raise SceneError(_absent(folder, task))
    try:
        found = episode_folders(folder, ".", task)
    except DemoError as error:
        raise SceneError(f"{error}, or evaluate on {_FRESH}") from error
    numbers = list(found)
    if start + count > len(numbers):
        raise SceneError(_too_few(folder / task, start, count, len(numbers)))
    chosen = numbers[start : start + count]
    missing = sorted(set(range(numbers[0], chosen[-1])) - set(numbers))
    if missing and not gaps:
        names = listing(f"episode{number}" for number in missing)
        raise SceneError(
            f"{episodes}: {names} missing, so that demo {start} is {found[chosen[0]].name}; "
            f"copy the demos again, or pass {SKIP_FLAG} to count those that are there"
        )
    return [
        EpisodeStart(task, start + i, demo=found[number], restore=restore)
        for i, number in enumerate(chosen)
    ]


def longest_demo(folder: Path, task: str) -> int:
    """Frames of the longest demo of `task` in the folder of a split.

    Raises:
        DemoError: there are none, or one cannot be read.
    """
    return max(len(read_stored(demo).demo) for demo in episode_folders(folder, ".", task).values())


def _too_few(folder: Path, start: int, count: int, there: int) -> str:
    if start >= there:
        return (
            f"{folder}: there are {there} demos, none from number {start} on; lower --start-episode"
        )
    return (
        f"{folder}: {count} episodes from number {start} on were asked for, but there are {there} "
        f"demos; pass --eval-episodes {there - start} or record more"
    )


def _absent(folder: Path, task: str) -> str:
    wanted = f"{folder / task / episodes_below(task)}: no such folder"
    remedy = (
        "--eval-datafolder names the folder of a split, which holds <task>/"
        f"{episodes_below(task)}/episode<N>; or evaluate on {_FRESH}"
    )
    found = tasks_below(folder)
    if not found:
        splits = [child for child in visible_folders(folder) if tasks_below(child)]
        hint = f"; did you mean {splits[0]}?" if splits else "."
        return f"{wanted}{hint} {remedy}"
    near = difflib.get_close_matches(task, found, 1)
    hint = f"did you mean {near[0]}?" if near else f"{folder} holds {listed(found)}."
    return f"{wanted}; {hint} {remedy}"


def recorded_backend(scene: EpisodeStart) -> str:
    """The backend in which the demo of `scene` was recorded; recorded RLBench does not say."""
    assert scene.demo is not None
    return str(recorded_origin(read_stored(scene.demo).demo)["backend"])
