from __future__ import annotations

from typing import Any


class Demo:
    def __init__(self, observations: list, random_seed: Any = None) -> None:
        self._observations = observations
        self.random_seed = random_seed
        self.variation_number = 0

    def __len__(self) -> int:
        return len(self._observations)

    def __getitem__(self, i: int) -> Any:
        return self._observations[i]
