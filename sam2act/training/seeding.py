"""Random numbers that depend on (seed, step) alone, so that a resumed run repeats itself.

Nothing here keeps state between steps: the seed of the run and the number of the step decide
the random numbers, whatever was drawn before and in whichever process.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def step_seed(seed: int, step: int, stream: str) -> int:
    """A seed for one purpose at one step; different arguments give unrelated values.

    Args:
        seed: seed of the run.
        step: number of the optimiser step.
        stream: name of the purpose, for example "augmentation".

    Returns:
        an integer in [0, 2**63).
    """
    entropy = [seed % 2**64, step % 2**64, zlib.crc32(stream.encode())]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Sets torch's global generators (CPU and CUDA), which dropout uses, for one step.

    Every rank gets its own draws. CUDA is not initialised by the call.
    """
    torch.manual_seed(step_seed(seed, step, f"dropout of rank {rank}"))


def step_generator(seed: int, step: int, stream: str = "batch") -> torch.Generator:
    """A CPU generator for the draws of a whole global batch at one step, equal on all ranks."""
    return torch.Generator().manual_seed(step_seed(seed, step, stream))
