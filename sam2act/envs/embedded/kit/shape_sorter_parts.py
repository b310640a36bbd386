"""Five shapes of boxes and cylinders, and a sorter with a hole for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Color, body, box, cylinder, free_body
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

# Bodies and what the instructions call them, in RLBench's order.
SHAPES = {
    "cube": "cube",
    "cylinder": "cylinder",
    "prism": "triangular prism",
    "star": "star",
    "moon": "moon",
}
SHAPE_COLORS: dict[str, Color] = {
    "cube": (0.15, 0.35, 0.90),
    "cylinder": (0.10, 0.60, 0.25),
    "prism": (0.88, 0.15, 0.12),
    "star": (0.95, 0.80, 0.10),
    "moon": (0.55, 0.20, 0.75),
}
SORTER_COLOR, INSIDE_COLOR = (0.86, 0.87, 0.90), (0.10, 0.10, 0.11)
# All in metres. Outlines of shapes are centred on their origin.
HALF_HEIGHT = 0.022
_TRIM = 0.0005  # by which the parts that do not carry a shape are lower at both ends
_PRISM_INRADIUS, _PRISM_SHIFT = 0.0145, -0.007  # of the triangle's centre along y
_RIDGE, _RIDGE_HALF = (-0.0153, 0.0286), 0.002  # along y from the triangle's centre; half width
_STAR_SHIFT = -0.0025  # of the star's centre along x
_STAR_STEPS = ((0.0165, 0.0095), (0.0215, 0.0055), (0.026, 0.0025))  # ends and half widths
_MOON_RADIUS, _MOON_SHIFT = 0.025, 0.0057  # of the outer circle; of its centre along y
_BITE_RADIUS, _BITE = 0.021, 0.013  # of the inner circle; of its centre along y from the outer one
_MOON_GRIP, _MOON_GRIP_HALF = (-0.0255, -0.0065), 0.0125  # y of its flat middle; half width
# Next to the middle the inside stands back by the second, up to x = the first: room for a finger.
_MOON_CLEAR, _MOON_SETBACK = 0.0167, 0.0008
_MOON_ENDS, _MOON_COLUMNS = 0.0245, 6  # of the horns along x; columns on each side of the middle
# Where the fingers close along y, in the frame of the shape: the middle but for these.
GRIPS = {"star": (0.0055, 0.0), "moon": (0.0, -0.0103)}
# The sorter is a block with a shaft below every hole; origin on the table.
HOLE, _RIB, TOP, _FLOOR = 0.036, 0.014, 0.065, 0.003  # half width; width between; heights
_PITCH = 2 * HOLE + _RIB
_ROWS = {_PITCH / 2: ("cube", "moon", "cylinder"), -_PITCH / 2: ("prism", "star")}  # by y
_LENGTH, _WIDTH = 1.5 * _PITCH + _RIB / 2, _PITCH + _RIB / 2  # half extents
_BITE_LID = 0.016  # radius of the round piece in the hole of the moon
_LID, _LID_DEPTH = 0.002, 0.001  # of the coloured pieces: half thickness; below the top
_PLATE, _SKIN = 0.010, 0.001  # thickness of the top; half thickness of the outer sides


# ----------------------------------------------------------------------------------- shapes
class _Bar(NamedTuple):
    """A part of an outline seen from above, in metres: a rectangle that lies between two
    distances from a centre in a direction (radians) and between two offsets to the left."""

    direction: float
    near: float
    far: float
    right: float
    left: float
    center: tuple[float, float] = (0.0, 0.0)

    def solid(
        self, scale: float, half_height: float, height: float, color: Color, **options: object
    ) -> str:
        """The upright box of this outline, `scale` times as large, its middle at `height`."""
        half = (scale * (self.far - self.near) / 2, scale * (self.left - self.right) / 2)
        along, aside = (self.far + self.near) / 2, (self.left + self.right) / 2
        cosine, sine = np.cos(self.direction), np.sin(self.direction)
        x = self.center[0] + along * cosine - aside * sine
        y = self.center[1] + along * sine + aside * cosine
        place = (scale * x, scale * y, height)
        turn = (0, 0, self.direction)
        return box((*half, half_height), color, pos=place, euler=turn, **options)


def shape(name: str, scale: float) -> str:
    """The free body `name`, `scale` times as large; origin in the middle of its outline."""
    options = {"density": 500, "friction": (1, 0.02, 0.002)}
    color, half = SHAPE_COLORS[name], scale * HALF_HEIGHT
    if name == "cylinder":
        solids = [cylinder(half, half, color, **options)]
    else:
        carrying, others = _PARTS[name]()
        solids = [bar.solid(scale, half, 0.0, color, **options) for bar in carrying]
        # Few parts on the table are few contacts.
        trimmed = half - _TRIM
        solids += [bar.solid(scale, trimmed, 0.0, color, **options) for bar in others]
    return free_body(name, *solids, pos=(0.25, 0.2, TABLE_HEIGHT + half))


_Parts = tuple[list[_Bar], list[_Bar]]  # those that stand on the table, the others


def _cube() -> _Parts:
    half = HALF_HEIGHT
    return [_Bar(0.0, -half, half, -half, half)], []


def _prism() -> _Parts:
    """A triangle with one corner towards +y: bars along its sides, thin ones reach the corners."""
    center, radius = (0.0, _PRISM_SHIFT), _PRISM_INRADIUS
    half = np.sqrt(3) * radius  # of a side
    sides = [np.deg2rad(angle) for angle in (-90, 30, 150)]
    others = []
    for width in (0.003, 0.009, radius):
        reach = half - width / np.sqrt(3)
        others += [_Bar(side, radius - width, radius, -reach, reach, center) for side in sides]
    # The fingers touch only this, alike on both sides: uneven pressure would toss the prism when
    # they open.
    others.append(_Bar(np.pi / 2, *_RIDGE, -_RIDGE_HALF, _RIDGE_HALF, center))
    inner = 0.7 * radius
    return [_Bar(0.0, -inner, inner, -inner, inner, center)], others


def _star() -> _Parts:
    """Five arms that narrow in steps, one of them towards +x."""
    center, start = (_STAR_SHIFT, 0.0), 0.0
    arms = []
    for stop, half in _STAR_STEPS:
        directions = 2 * np.pi * np.arange(5) / 5
        arms += [_Bar(angle, start, stop, -half, half, center) for angle in directions]
        start = stop - 0.001
    inner = _STAR_STEPS[0][1]
    return [_Bar(0.0, -inner, inner, -inner, inner, center)], arms


def _moon() -> _Parts:
    """A crescent with its horns towards +y, of columns along y around a flat middle.

    The fingers touch the middle only, as they touch the ridge of the prism.
    """
    center = (0.0, _MOON_SHIFT)
    middle = _Bar(0.0, -_MOON_GRIP_HALF, _MOON_GRIP_HALF, *_MOON_GRIP, center)
    edges = np.linspace(_MOON_GRIP_HALF, _MOON_ENDS, _MOON_COLUMNS + 1)
    columns = []
    for near, far in zip(edges[:-1], edges[1:], strict=True):
        x = (near + far) / 2
        outer = np.sqrt(_MOON_RADIUS**2 - x**2)
        inner = _BITE - np.sqrt(max(_BITE_RADIUS**2 - x**2, 0.0))
        if far < _MOON_CLEAR:
            inner = _MOON_GRIP[1] - _MOON_SETBACK
        top = min(inner, outer)
        columns += [
            _Bar(0.0, near, far, -outer, top, center),
            _Bar(0.0, -far, -near, -outer, top, center),
        ]
    return [middle, *columns[-2:]], columns[:-2]


_PARTS = {"cube": _cube, "prism": _prism, "star": _star, "moon": _moon}


# ----------------------------------------------------------------------------------- sorter
def holes() -> dict[str, tuple[float, float]]:
    """x and y of the middle of every hole in the sorter's frame, metres at scale 1."""
    return {
        name: (_PITCH * (place - (len(names) - 1) / 2), y)
        for y, names in _ROWS.items()
        for place, name in enumerate(names)
    }


def sorter(scale: float) -> str:
    """A fixed body `sorter`, `scale` times as long and wide: the top and the outer sides. What
    keeps its colour is another body: the dark inside and the coloured pieces in the holes."""
    bars = _bars()
    depth = (TOP - _PLATE) / 2
    top = [bar.solid(scale, _PLATE / 2, TOP - _PLATE / 2, SORTER_COLOR) for bar in bars]
    walls = [bar.solid(scale, depth, depth, INSIDE_COLOR) for bar in bars]
    skin = _Bar(0.0, _LENGTH - _SKIN, _LENGTH + _SKIN, -_WIDTH, _WIDTH)
    ends = [skin._replace(direction=angle) for angle in (0.0, np.pi)]
    skin = _Bar(0.0, _WIDTH - _SKIN, _WIDTH + _SKIN, -_LENGTH, _LENGTH)
    ends += [skin._replace(direction=angle) for angle in (np.pi / 2, -np.pi / 2)]
    sides = [end.solid(scale, TOP / 2 - _TRIM, TOP / 2, SORTER_COLOR) for end in ends]
    size = (scale * _LENGTH - _SKIN, scale * _WIDTH - _SKIN, _FLOOR / 2)
    floor = box(size, INSIDE_COLOR, pos=(0, 0, _FLOOR / 2))
    lids = [_lid(name, hole, scale) for name, hole in holes().items()]
    inside = body("sorter_inside", floor, *walls, *lids)
    return body("sorter", *top, *sides, inside, pos=(0.27, -0.21, TABLE_HEIGHT))


def _bars() -> list[_Bar]:
    """What is left of the block between the holes."""
    rows = (-_PITCH, 0.0, _PITCH)
    bars = [_Bar(0.0, -_LENGTH, _LENGTH, y - _RIB / 2, y + _RIB / 2) for y in rows]
    for y, names in _ROWS.items():
        middles = [holes()[name][0] for name in names]
        starts = [-_LENGTH, *(x + HOLE for x in middles)]
        stops = [*(x - HOLE for x in middles), _LENGTH]
        bars += [
            _Bar(0.0, start, stop, y - HOLE, y + HOLE)
            for start, stop in zip(starts, stops, strict=True)
        ]
    return bars


def _lid(name: str, hole: tuple[float, float], scale: float) -> str:
    """Coloured pieces, only seen, that leave the outline of a shape open; what of them lies
    outside the hole is hidden in the walls."""
    height, color = TOP - _LID_DEPTH - _LID, SHAPE_COLORS[name]
    pieces = [
        bar._replace(center=(hole[0] + bar.center[0], hole[1] + bar.center[1]))
        for bar in _OUTLINES[name]
    ]
    solids = [piece.solid(scale, _LID, height, color, class_="visual") for piece in pieces]
    if name == "moon":
        spot = (scale * hole[0], scale * (hole[1] + _MOON_SHIFT + _BITE), height)
        solids.append(cylinder(scale * _BITE_LID, _LID, color, pos=spot, class_="visual"))
    return "".join(solids)


def _ring(
    degrees: Sequence[int], near: float, far: float, half: float, y: float = 0.0
) -> list[_Bar]:
    """Equal bars in several directions around the middle or a point on the y axis."""
    return [_Bar(np.deg2rad(angle), near, far, -half, half, (0.0, y)) for angle in degrees]


def _wedge(degrees: float, size: float) -> _Bar:
    """A square of side `size` in metres that points between two arms of the star."""
    angle = np.deg2rad(degrees)
    start = 0.0175 * np.array([np.cos(angle), np.sin(angle)]) + (_STAR_SHIFT, 0.0)
    return _Bar(angle - np.pi / 4, 0.0, size, 0.0, size, tuple(start))


# About 6 mm wider than the shapes, in metres.
_OUTLINES: dict[str, list[_Bar]] = {
    "cube": _ring(range(0, 360, 90), 0.029, 0.038, 0.038),
    "cylinder": _ring(range(0, 360, 90), 0.029, 0.040, 0.013)
    + _ring(range(45, 360, 90), 0.029, 0.050, 0.018),
    "prism": _ring((-90,), 0.0205, 0.031, 0.038, _PRISM_SHIFT)
    + _ring((30, 150), 0.0205, 0.0325, 0.034, _PRISM_SHIFT)
    + [
        _Bar(np.deg2rad(30), 0.032, 0.052, -0.008, 0.029, (0.0, _PRISM_SHIFT)),
        _Bar(np.deg2rad(150), 0.032, 0.052, -0.029, 0.008, (0.0, _PRISM_SHIFT)),
    ],
    "star": [_wedge(angle, 0.029) for angle in (36, -36)]
    + [_wedge(angle, 0.023) for angle in (108, 180, 252)]
    + _ring((144, 216), 0.032, 0.050, 0.010),
    "moon": _ring((-180, -90, 0), 0.031, 0.044, 0.017, _MOON_SHIFT)
    + _ring((-135, -45), 0.031, 0.054, 0.014, _MOON_SHIFT)
    + _ring((90,), 0.0225, 0.038, 0.038),
}
