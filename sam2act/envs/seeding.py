"""Which variation and which seed an episode of a generated set of episodes has.

Shared by demo generation and by evaluation on fresh scenes, so that a set is named by one seed.
"""

from __future__ import annotations

import zlib

import numpy as np


def episode_variation(seed: int, task: str, episode: int, count: int) -> int:
    """The variation of an episode: all `count` of them in turn, in a shuffled order."""
    order = np.random.default_rng([seed, zlib.crc32(task.encode())]).permutation(count)
    return int(order[episode % count])


def episode_seed(seed: int, task: str, episode: int) -> int:
    """The seed of episode `episode` in the set with seed `seed` (of its first attempt)."""
    source = np.random.SeedSequence([seed, zlib.crc32(task.encode()), episode])
    return int(source.generate_state(1)[0])
