"""What an evaluation episode starts from: a recorded demo, or a seed. Images are never read."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.data.demo_folders import EPISODES_FOLDER, tasks_below
from sam2act.data.demos import Episode, list_episodes, read_episode
from sam2act.data.rlbench_types import Observation
from sam2act.envs.base import Env
from sam2act.envs.seeding import episode_seed, episode_variation


class SceneError(ValueError):
    """There are no such episodes; the message names the folder and the remedy."""


@dataclass(frozen=True)
class Scene:
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

    def begin(self, env: Env) -> tuple[int, int | None, list[str], Observation]:
        """Reset `env` to this scene.

        Returns:
            variation, seed (None where the demo holds a generator's state), instructions, the
            first observation.
        """
        if self.demo is None:
            assert self.seed is not None
            seed = episode_seed(self.seed, self.task, self.episode)
            variation = episode_variation(self.seed, self.task, self.episode, env.variation_count())
            return variation, seed, *env.reset(variation, seed)
        stored = read_stored(self.demo)
        variation, state = stored.variation_number, stored.random_seed
        stored.demo.variation_number = variation  # recorded RLBench pickles hold 0 there
        if self.restore:
            known = state if isinstance(state, int) else None
            return variation, known, *env.reset_to_demo(stored.demo)
        if not isinstance(state, int):
            raise SceneError(
                f"{self.demo}: perturbed scenes need demos of the embedded simulator, whose scene "
                "is a plain seed; this one holds the state of a random generator"
            )
        return variation, state, *env.reset(variation, state)


@functools.lru_cache(maxsize=2)
def read_stored(folder: Path) -> Episode:
    """The pickles of an episode; no image is touched."""
    return read_episode(folder)


def fresh_scenes(task: str, seed: int, numbers: Sequence[int]) -> list[Scene]:
    """Scenes that nobody has recorded: episodes `numbers` of the set with seed `seed`."""
    return [Scene(task, number, seed=seed) for number in numbers]


def demo_scenes(folder: Path, task: str, start: int, count: int, *, restore: bool) -> list[Scene]:
    """The scenes of `count` demos of `task` from the `start`-th on, in the order of their numbers.

    Args:
        folder: of the split, for example data/test.
        task: name of the task.
        start: position of the first one.
        count: how many.
        restore: see `Scene`.

    Raises:
        SceneError: there are none, or fewer.
    """
    if not (folder / task / EPISODES_FOLDER).is_dir():
        raise SceneError(_absent(folder, task))
    numbers = list_episodes(folder, ".", task)
    if start + count > len(numbers):
        left = max(len(numbers) - start, 0)
        raise SceneError(
            f"{folder / task}: {count} episodes from number {start} on were asked for, but there "
            f"are {len(numbers)} demos; pass --eval-episodes {left} or record more"
            if left
            else f"{folder / task}: there are {len(numbers)} demos, none from number {start} on; "
            "lower --start-episode"
        )
    chosen = numbers[start : start + count]
    episodes = folder / task / EPISODES_FOLDER
    return [
        Scene(task, start + i, demo=episodes / f"episode{number}", restore=restore)
        for i, number in enumerate(chosen)
    ]


def _absent(folder: Path, task: str) -> str:
    wanted = f"{folder / task / EPISODES_FOLDER}: no such folder"
    remedy = (
        "--eval-datafolder names the folder of a split, which holds <task>/"
        f"{EPISODES_FOLDER}/episode<N>; or evaluate on fresh scenes of the embedded simulator with "
        "--backend embedded --seed N"
    )
    found = tasks_below(folder)
    if not found:
        splits = [child for child in sorted(folder.glob("*/")) if tasks_below(child)]
        hint = f"; did you mean {splits[0]}?" if splits else "."
        return f"{wanted}{hint} {remedy}"
    near = difflib.get_close_matches(task, found, 1)
    hint = f"did you mean {near[0]}?" if near else f"{folder} holds {', '.join(found)}."
    return f"{wanted}; {hint} {remedy}"


def recorded_backend(scene: Scene) -> str:
    """The backend in which the demo of `scene` was recorded; recorded RLBench does not say."""
    assert scene.demo is not None
    demo = read_stored(scene.demo).demo
    misc = (getattr(demo[0], "misc", None) or {}) if len(demo) else {}
    return str(misc.get("backend", "rlbench"))
