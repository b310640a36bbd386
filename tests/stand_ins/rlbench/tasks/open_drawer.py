from __future__ import annotations

import numpy as np
from pyrep.world import WORLD


class OpenDrawer:
    """Draws its placement from numpy's global generator, once per episode."""

    def __init__(self) -> None:
        self.placement = np.zeros(3)
        self.began = 0  # simulation step of the reset
        self.may_begin = False  # only inside a reset, and once

    def init_episode(self, index: int) -> list[str]:
        assert self.may_begin, "the episode was initialised twice, or outside of a reset"
        self.may_begin = False
        self.placement = np.random.uniform(size=3)
        self.began = WORLD.steps
        count = len(WORLD.named("reset"))
        return [f"open drawer {index}, reset {count}", "a paraphrase"]

    def variation_count(self) -> int:
        return 3

    def success(self) -> tuple[bool, bool]:
        after = WORLD.solved_after
        solved = after is not None and WORLD.steps - self.began >= after
        return solved, solved or WORLD.failed
