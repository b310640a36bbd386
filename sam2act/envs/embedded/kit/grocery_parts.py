"""Groceries of simple shapes in telling colours, and a cupboard to put them into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Color, body, box, cylinder, free_body
from sam2act.envs.embedded.kit.parts import METAL
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

_DENSITY, _FRICTION = 300, (1, 0.02, 0.002)
_LABEL = 0.0006  # metres by which labels, which are only seen, stand out

# Of the cupboard, in its frame, metres: origin on the table below the middle of the open front.
CUPBOARD_FLOOR = 0.25
CUPBOARD_HALF_WIDTH, CUPBOARD_DEPTH, CUPBOARD_HEIGHT = 0.16, 0.22, 0.20
CUPBOARD_COLOR, CUPBOARD_INSIDE = (0.60, 0.42, 0.26), (0.72, 0.54, 0.36)
_WALL = 0.006  # half thickness


@dataclass(frozen=True)
class Grocery:
    """An upright box or can.

    Attributes:
        half: half extents (x, y, z) in metres; the fingers close along x.
        color: of the package.
        label: of the band around it.
        lid: of its top.
        round: whether it is a can of radius x.
    """

    half: tuple[float, float, float]
    color: Color
    label: Color
    lid: Color
    round: bool = False

    def text(self, name: str, scale: float) -> str:
        """The free body `name`, `scale` times as large; origin at its centre."""
        half = scale * np.asarray(self.half)
        grip = {"density": _DENSITY, "friction": _FRICTION, "name": f"{name}_geom"}
        package = self._solid(half, self.color, **grip)
        band = half * (1, 1, 0.45) + (_LABEL, _LABEL, 0)
        top = half * (0.8, 0.8, 0)
        top[2] = 0.001
        return free_body(
            name,
            package,
            self._solid(band, self.label, class_="visual"),
            self._solid(top, self.lid, class_="visual", pos=(0, 0, half[2])),
        )

    def _solid(self, half: np.ndarray, color: Color, **options: object) -> str:
        if self.round:
            return cylinder(half[0], half[2], color, **options)
        return box(half, color, **options)


_CREAM, _WHITE = (0.95, 0.88, 0.70), (0.95, 0.95, 0.95)
# All low enough for the palm to pass over the neighbours of what it grasps.
GROCERIES: dict[str, Grocery] = {
    "crackers": Grocery((0.020, 0.036, 0.031), (0.85, 0.10, 0.10), (0.95, 0.75, 0.1), _CREAM),
    "chocolate jello": Grocery((0.020, 0.030, 0.020), (0.35, 0.18, 0.08), _CREAM, (0.25, 0.1, 0)),
    "strawberry jello": Grocery((0.020, 0.030, 0.020), (0.95, 0.35, 0.5), _WHITE, (0.9, 0.1, 0.2)),
    "soup": Grocery((0.026, 0.026, 0.031), _WHITE, (0.80, 0.05, 0.05), METAL, round=True),
    "tuna": Grocery((0.030, 0.030, 0.016), METAL, (0.10, 0.35, 0.75), (0.3, 0.7, 0.9), round=True),
    "spam": Grocery((0.022, 0.034, 0.024), (0.05, 0.10, 0.45), (0.95, 0.85, 0.15), METAL),
    "coffee": Grocery(
        (0.030, 0.030, 0.030), (0.10, 0.1, 0.1), (0.05, 0.3, 0.15), _CREAM, round=True
    ),
    "mustard": Grocery(
        (0.020, 0.020, 0.032), (0.95, 0.8, 0.05), (0.85, 0.6, 0), _WHITE, round=True
    ),
    "sugar": Grocery((0.022, 0.030, 0.030), (0.92, 0.92, 0.96), (0.95, 0.75, 0.2), (0.2, 0.4, 0.8)),
}


def cupboard(name: str = "cupboard") -> str:
    """An open box on four legs; a fixed body whose front faces +y."""
    width, depth, height = CUPBOARD_HALF_WIDTH, CUPBOARD_DEPTH, CUPBOARD_HEIGHT
    middle = CUPBOARD_FLOOR + height / 2
    sides = [
        box((_WALL, depth / 2, height / 2), CUPBOARD_COLOR, pos=(x, -depth / 2, middle))
        for x in (-width - _WALL, width + _WALL)
    ]
    plates = [
        box((width + 2 * _WALL, depth / 2, _WALL), CUPBOARD_COLOR, pos=(0, -depth / 2, z))
        for z in (CUPBOARD_FLOOR - _WALL, CUPBOARD_FLOOR + height + _WALL)
    ]
    back = box((width, _WALL, height / 2), CUPBOARD_INSIDE, pos=(0, _WALL - depth, middle))
    leg = (CUPBOARD_FLOOR - 2 * _WALL) / 2
    legs = [
        cylinder(0.010, leg, METAL, pos=(x, y, leg))
        for x in (-width + 0.01, width - 0.01)
        for y in (-0.02, 0.02 - depth)
    ]
    return body(name, *sides, *plates, back, *legs, pos=(0, 0, TABLE_HEIGHT))
