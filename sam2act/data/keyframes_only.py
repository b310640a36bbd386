"""Episodes reduced to what a keyframe policy sees while it acts: the first frame and keyframes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from sam2act.data.exchange import PlainEpisode
from sam2act.data.source import SourceError

# Fact of such an episode: frame -> flag `ignore_collisions` of the motion to the next keyframe,
# that of the recorded frame before the keyframe.
COMING_FLAGS = "coming_ignore_collisions"


def keyframes_only(episode: PlainEpisode, place: str) -> PlainEpisode:
    """The first frame and the keyframes of `episode`, numbered 0, 1, ...

    Recorded actions, which lead from frame to frame, are left out.

    Raises:
        SourceError: no keyframes are known.
    """
    keyframes = [int(frame) for frame in episode.facts.get("keyframes") or []]
    if not keyframes:
        raise SourceError(
            f"{place}: nothing tells its keyframes; mark them in a file and name it with "
            "--keyframes"
        )
    frames = [0, *keyframes]
    facts = {**episode.facts, "keyframes": list(range(1, len(frames)))}
    if "ignore_collisions" in episode.numbers:
        flags = np.asarray(episode.numbers["ignore_collisions"], np.float64).reshape(-1)
        before = [frame - 1 for frame in keyframes]
        facts[COMING_FLAGS] = [*flags[before].tolist(), float(flags[keyframes[-1]])]
    return dataclasses.replace(
        episode,
        length=len(frames),
        numbers={name: values[frames] for name, values in episode.numbers.items()},
        image=_renumbered(episode.image, frames),
        actions=None,
        facts=facts,
    )


def _renumbered(
    image: Callable[[str, int], np.ndarray], frames: list[int]
) -> Callable[[str, int], np.ndarray]:
    return lambda name, frame: image(name, frames[frame])
