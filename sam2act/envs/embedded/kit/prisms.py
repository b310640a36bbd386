"""Upright prisms over convex outlines, as convex meshes: what boxes and cylinders cannot make.

An outline is a (N, 2) array of corners in metres, counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sam2act.envs.embedded.kit.assembly import geom_name
from sam2act.envs.embedded.kit.mjcf import Color, Vector, element

Outline = np.ndarray
_LEAST_AREA = 1e-7  # square metres; smaller pieces are dropped


@dataclass(frozen=True)
class Prisms:
    """A shape of prisms of equal height around its origin.

    Attributes:
        name: of the shape.
        outlines: of the prisms, seen from above.
        half_height: metres.
        color: red, green, blue in [0, 1].
        turn: quaternion wxyz of the frame in which the prisms are upright.
        mass: kilograms; None = its shape is only seen, or never moves.
        is_solid: whether things bounce off it.
    """

    name: str
    outlines: Sequence[Outline]
    half_height: float
    color: Color
    turn: Vector = (1, 0, 0, 0)
    mass: float | None = None
    is_solid: bool = True

    def assets(self, scale: float) -> str:
        """The meshes, `scale` times as large."""
        heights = (-self.half_height, self.half_height)
        return "".join(
            element(
                "mesh",
                name=geom_name(self.name, number),
                vertex=scale
                * np.concatenate(
                    [np.column_stack([outline, np.full(len(outline), z)]) for z in heights]
                ).ravel(),
            )
            for number, outline in enumerate(self.outlines)
        )

    def geoms(self, scale: float) -> str:
        """The geoms of these meshes."""
        names = [geom_name(self.name, number) for number in range(len(self.outlines))]
        return "".join(
            element(
                "geom",
                name=name,
                type="mesh",
                mesh=name,
                rgba=[*self.color, 1.0],
                quat=self.turn,
                class_="object" if self.is_solid else "visual",
                mass=None if self.mass is None else scale**3 * self.mass / len(names),
            )
            for name in names
        )


def regular(count: int, radius: float, turn: float = 0.0, center: Vector = (0, 0)) -> Outline:
    """A regular polygon, its first corner in direction `turn` (radians) from its centre."""
    angles = turn + 2 * np.pi * np.arange(count) / count
    return np.asarray(center) + radius * np.column_stack([np.cos(angles), np.sin(angles)])


def star(tip: float, notch: float, center: Vector = (0, 0)) -> tuple[Outline, list[Outline]]:
    """The pentagon between the notches of a star with a tip towards +y, and its five arms.

    Args:
        tip: distance of the tips from the centre, metres.
        notch: distance of the notches, metres.
        center: (2,) metres.
    """
    tips = regular(5, tip, np.pi / 2, center)
    notches = regular(5, notch, np.pi / 2 - np.pi / 5, center)
    following = np.roll(notches, -1, axis=0)
    return notches, [np.stack(arm) for arm in zip(notches, tips, following, strict=True)]


def left_of(outline: Outline, start: np.ndarray, stop: np.ndarray) -> Outline:
    """The part of a convex outline on the left of the line from `start` to `stop`, (2,) each."""
    along, offsets = stop - start, outline - start
    sides = along[0] * offsets[:, 1] - along[1] * offsets[:, 0]
    corners = []
    for number, (corner, side) in enumerate(zip(outline, sides, strict=True)):
        before, side_before = outline[number - 1], sides[number - 1]
        if side * side_before < 0:
            corners.append(before + (corner - before) * side_before / (side_before - side))
        if side >= 0:
            corners.append(corner)
    return np.array(corners).reshape(-1, 2)


def inside(outline: Outline, other: Outline) -> Outline:
    """What two convex outlines share; without corners where that is nothing."""
    for start, stop in _edges(other):
        outline = left_of(outline, start, stop)
    return outline


def outside(pieces: Iterable[Outline], hole: Outline) -> list[Outline]:
    """Convex pieces of convex `pieces` with a convex hole cut out of them."""
    found = []
    for piece in pieces:
        if _area(inside(piece, hole)) < _LEAST_AREA:
            found.append(piece)
            continue
        rest = piece
        for start, stop in _edges(hole):
            found.append(left_of(rest, stop, start))
            rest = left_of(rest, start, stop)
    return [piece for piece in found if _area(piece) >= _LEAST_AREA]


def _edges(outline: Outline) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    return zip(outline, np.roll(outline, -1, axis=0), strict=True)


def _area(outline: Outline) -> float:
    following = np.roll(outline, -1, axis=0)
    return float(np.sum(outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]) / 2)
