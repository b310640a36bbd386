from __future__ import annotations

import numpy as np

from pyrep.world import WORLD


class Shape:
    def __init__(self, name_or_handle: str) -> None:
        self.name = WORLD.find(name_or_handle)

    def get_position(self) -> np.ndarray:
        return np.array([0.25, 0.0, 0.752])

    def get_bounding_box(self) -> list[float]:
        return [-0.35, 0.45, -0.455, 0.455, 0.0, 0.0]


class TreeShape:
    """A shape found by `get_objects_in_tree`; equal handles are equal objects."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeShape) and other.name == self.name

    __hash__ = None  # type: ignore[assignment]

    def is_collidable(self) -> bool:
        return WORLD.collidable[self.name]

    def set_collidable(self, value: bool) -> None:
        WORLD.collidable[self.name] = value
