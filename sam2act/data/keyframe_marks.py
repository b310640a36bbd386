"""Keyframes marked by hand: a JSON file of frame numbers per episode.

    {"0": [12, 40, 77], "3": [9, 51]}

An episode that is not named keeps what the heuristic finds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from sam2act.data.exchange import PlainEpisode
from sam2act.data.source import SourceError

_FORM = 'write {"<episode>": [<frame>, ...], ...}, frames increasing'


def read_marks(path: Path) -> dict[int, list[int]]:
    """Episode -> its keyframes.

    Raises:
        SourceError: the file is absent or has another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        marks = {
            int(episode): [int(frame) for frame in frames] for episode, frames in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: holds no keyframes ({error}); {_FORM}") from error
    return marks


def with_keyframes(episode: PlainEpisode, frames: Sequence[int], place: str) -> PlainEpisode:
    """`episode` with these keyframes.

    Raises:
        SourceError: they do not increase, or lie outside the episode.
    """
    grow = all(a < b for a, b in zip(frames, frames[1:], strict=False))
    if not frames or not grow or frames[0] < 1 or frames[-1] >= episode.length:
        raise SourceError(
            f"{place}: keyframes {list(frames)} must increase and lie within frames 1 to "
            f"{episode.length - 1}; {_FORM}"
        )
    return dataclasses.replace(episode, facts={**episode.facts, "keyframes": list(frames)})
