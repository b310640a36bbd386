"""Looking at all demos of an evaluation before its first episode; their images are not touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tqdm import tqdm

from sam2act.core.wording import listing
from sam2act.data.rlbench.demos import Episode
from sam2act.data.rlbench.types import DemoError
from sam2act.envs.registry import RestoresDemos, get_backend
from sam2act.evaluation.scenes import EpisodeStart, SceneError, read_stored, with_remedy

_FEW = 50  # demos that are looked at without a progress bar

Check = Callable[[Episode], object]  # raises DemoError


def usable_scenes(
    scenes: Iterable[EpisodeStart],
    check: Callable[[EpisodeStart], str],
    *,
    skip_bad: bool,
    progress: bool,
) -> tuple[list[EpisodeStart], dict[EpisodeStart, str]]:
    """The scenes that can be played, and what is wrong with the others.

    Args:
        scenes: of the evaluation.
        check: says what is wrong with a scene; empty = nothing.
        skip_bad: leave bad ones out, as long as others of their task remain.
        progress: show a progress bar where there are many.

    Raises:
        SceneError: a scene is bad and not to be left out, or a task has no other.
    """
    scenes = list(scenes)
    shown = tqdm(
        scenes,
        desc="looking at the demos",
        disable=not progress or len(scenes) <= _FEW,
        leave=False,
    )
    bad = {scene: problem for scene in shown if (problem := check(scene))}
    good = [scene for scene in scenes if scene not in bad]
    lost = {scene.task for scene in scenes} - {scene.task for scene in good}
    if bad and not skip_bad:
        summary = _summary(bad, len(scenes))
        # Where no demo of a task is sound, something else than a demo is to be mended.
        raise SceneError(summary if lost else with_remedy(summary))
    if lost:
        of_task = {scene: text for scene, text in bad.items() if scene.task in lost}
        raise SceneError(f"{_summary(of_task, len(of_task))}; no other demo of the task is left")
    return good, bad


def _summary(bad: dict[EpisodeStart, str], count: int) -> str:
    """The first problem in full, the others by name."""
    first, *others = bad
    if not others:
        return bad[first]
    names = listing(f"{scene.task}/{scene.demo.name}" for scene in others if scene.demo)
    return f"{bad[first]} ({len(bad)} of {count} demos cannot be used, also {names})"


class DemoCheck:
    """Says what is wrong with the demo of a scene."""

    def __init__(self, backend: str, also: Check | None = None) -> None:
        """Check for the simulator `backend`; `also` is what else must not fail."""
        self._backend, self._also = backend, also

    def __call__(self, scene: EpisodeStart) -> str:
        """What is wrong, with file and remedy; empty = nothing."""
        if scene.demo is None:
            return ""
        try:
            stored = read_stored(scene.demo)
            self._check_scene(scene, stored)
            if self._also is not None:
                self._also(stored)
        except (DemoError, SceneError) as error:
            return str(error)
        except ValueError as error:
            return f"{scene.demo}: {error}; record it again, or take it out of the folder"
        return ""

    def _check_scene(self, scene: EpisodeStart, stored: Episode) -> None:
        """Raise ValueError if the scene cannot be restored."""
        if not len(stored.demo):
            raise ValueError("the demo has no frames")
        backend = get_backend(self._backend)
        if not isinstance(backend, RestoresDemos):
            raise ValueError(
                f"backend {self._backend} cannot restore recorded scenes; evaluate new ones with "
                "--seed N"
            )
        backend.check_demo(stored.demo, scene.task, exact=scene.restore)
        count, variation = backend.variation_count(scene.task), stored.variation_number
        if variation < 0 or (count is not None and variation >= count):
            there = "none below 0" if count is None else f"0 to {count - 1}"
            raise ValueError(f"variation: {scene.task} has {there}, not {variation}")
