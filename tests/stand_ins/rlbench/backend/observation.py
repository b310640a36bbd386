from __future__ import annotations

from typing import Any


class Observation:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)
