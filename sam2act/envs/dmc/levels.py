"""What the levels of the generalisation benchmark change in a picture.

The benchmark draws colours of floor, sky and robot anew in every episode (`color_easy`: near the
usual ones), or shows a film in the place of the sky (`video_easy`) or of sky and floor
(`video_hard`). Here the finished picture is changed, by what the simulator says each pixel shows:
shading and shadows stay. Legend: S pixels per side, N frames of a film.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sam2act.core.errors import ConfigError
from sam2act.core.files import natural_order

SKY, FLOOR, ROBOT = 0, 1, 2  # what a pixel shows
# sRGB of the usual picture, from 0 to 1, and how far `color_easy` goes from them.
USUAL = {SKY: (0.4, 0.6, 0.8), FLOOR: (0.15, 0.25, 0.35), ROBOT: (0.7, 0.5, 0.3)}
NEAR = 0.1
BLOBS, FILM_FRAMES = 5, 64
GRAIN = 10.0  # standard deviation of the pattern of a made film, of 255


class Changes(NamedTuple):
    """Those of one episode."""

    colors: dict[int, np.ndarray]  # what a pixel shows -> (3,) factors of its colour
    film: np.ndarray | None  # (N, S, S, 3) uint8
    on_floor: bool  # whether the film hides the floor, too


def sample_changes(level: str, side: int, random: np.random.Generator, films: Films) -> Changes:
    """The changes of an episode."""
    if level.startswith("color"):
        near = level == "color_easy"
        return Changes({what: _factors(what, near, random) for what in USUAL}, None, False)
    if level.startswith("video"):
        return Changes({}, films.one(side, random), level == "video_hard")
    return Changes({}, None, False)


def changed(rgb: np.ndarray, shows: np.ndarray, changes: Changes, step: int) -> np.ndarray:
    """A picture (S, S, 3) uint8 with the changes of its episode.

    Args:
        rgb: the usual picture.
        shows: (S, S) SKY, FLOOR or ROBOT.
        changes: of the episode.
        step: pictures so far; films run forth and back.
    """
    if changes.film is not None:
        hidden = shows != ROBOT if changes.on_floor else shows == SKY
        return np.where(hidden[..., None], changes.film[_swing(step, len(changes.film))], rgb)
    result = rgb.astype(np.float32)
    for what, factors in changes.colors.items():
        result[shows == what] *= factors
    return result.clip(0, 255).astype(np.uint8)


class Films:
    """Films for backgrounds, from a folder or made of moving colours."""

    def __init__(self, folder: str, read: Callable[[Path, int], np.ndarray]) -> None:
        """Take the mp4 files of a folder.

        Args:
            folder: empty = none; films are made.
            read: (file, S) -> (N, S, S, 3) uint8.

        Raises:
            ConfigError: the folder holds none.
        """
        self._read = read
        self._files = sorted(Path(folder).glob("*.mp4"), key=natural_order) if folder else []
        if folder and not self._files:
            raise ConfigError(f"videos: {folder} holds no mp4 file; leave it out to make films")
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def one(self, side: int, random: np.random.Generator) -> np.ndarray:
        """A film (N, S, S, 3) uint8."""
        if not self._files:
            return made_film(side, random)
        number = int(random.integers(len(self._files)))
        if (number, side) not in self._known:
            self._known[number, side] = self._read(self._files[number], side)
        return self._known[number, side]


def made_film(side: int, random: np.random.Generator, frames: int = FILM_FRAMES) -> np.ndarray:
    """(N, S, S, 3) uint8: coloured clouds that drift over a pattern."""
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, side),) * 2, indexing="ij"), -1)
    pattern = random.normal(0, GRAIN, (side, side, 3))
    centers, speeds = random.random((BLOBS, 2)), random.normal(0, 0.5, (BLOBS, 2))
    colors, widths = 255 * random.random((BLOBS, 3)), random.uniform(0.1, 0.4, BLOBS)
    film = np.zeros((frames, side, side, 3), np.uint8)
    for number in range(frames):
        places = (centers + speeds * number / frames) % 1
        distance = ((grid[..., None, :] - places) ** 2).sum(-1)
        weights = np.exp(-distance / (2 * widths**2)) + 1e-3
        clouds = weights @ colors / weights.sum(-1, keepdims=True)
        film[number] = (clouds + pattern).clip(0, 255)
    return film


def _factors(what: int, near: bool, random: np.random.Generator) -> np.ndarray:
    usual = np.array(USUAL[what])
    wanted = usual + random.uniform(-NEAR, NEAR, 3) if near else random.random(3)
    factors: np.ndarray = wanted.clip(0.02, 1) / usual
    return factors


def _swing(step: int, length: int) -> int:
    """0, 1, ..., length - 1, length - 2, ..., 1, 0, 1, ..."""
    period = max(2 * (length - 1), 1)
    place = step % period
    return min(place, period - place)
