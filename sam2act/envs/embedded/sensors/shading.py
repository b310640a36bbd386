"""Colours of ray-cast images: Lambert shading and procedural textures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mujoco
import numpy as np

from sam2act.envs.embedded.kit.workspace import TABLE_GEOMS, WALL_GEOMS

AMBIENT, HEADLIGHT, SUN = 0.40, 0.30, 0.35
SUN_DIRECTION = np.array([0.15, -0.15, 1.0]) / np.linalg.norm([0.15, -0.15, 1.0])
_SURROUNDINGS = {
    "floor": "tiles",
    **dict.fromkeys(WALL_GEOMS, "weave"),
    **dict.fromkeys(TABLE_GEOMS, "wood"),
}
_WOOD_SEED, _WOOD_SIDE, _WOOD_PER_METRE, _WOOD_GAIN = 7, 256, 220.0, 0.22
_WOOD_OCTAVES = ((4, 0.5), (16, 0.3), (64, 0.2))  # cells, amplitude


def _wood_grain() -> np.ndarray:
    """(256, 256) deviations of brightness: three octaves of planks, repeatable."""
    random = np.random.default_rng(_WOOD_SEED)
    grain = np.zeros((_WOOD_SIDE, _WOOD_SIDE))
    for cells, amplitude in _WOOD_OCTAVES:
        planks = random.random((4 * cells, cells // 2 + 1))  # longer along the second axis
        row = np.arange(_WOOD_SIDE) * planks.shape[0] // _WOOD_SIDE
        column = np.arange(_WOOD_SIDE) * planks.shape[1] // _WOOD_SIDE
        grain += amplitude * planks[row[:, None], column]
    return (grain - grain.mean()) * _WOOD_GAIN


_WOOD = _wood_grain()


def _wood(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    row, column = (np.floor(_WOOD_PER_METRE * x).astype(int) & (_WOOD_SIDE - 1) for x in (a, b))
    return 1 + _WOOD[row, column]


def _checker(cell: float, contrast: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def pattern(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 1 - contrast * ((np.floor(a / cell) + np.floor(b / cell)) % 2)

    return pattern


def _stripes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 1 - 0.4 * (np.floor(a / 0.012) % 2)


def _noise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A hash of 5 mm cells."""
    cell = np.sin(np.floor(a / 0.005) * 12.9898 + np.floor(b / 0.005) * 78.233) * 43758.5453
    return 1 - 0.5 * (cell - np.floor(cell))


def _hexagons(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dark seams between hexagons 2 cm wide: the nearer of two shifted lattices wins."""
    lattice = np.array([0.02, 0.02 * np.sqrt(3)])
    point = np.stack([a, b], axis=-1)
    offsets = [
        np.abs((point + shift) % lattice - lattice / 2) for shift in (np.zeros(2), lattice / 2)
    ]
    nearest = np.where(
        (np.linalg.norm(offsets[0], axis=-1) < np.linalg.norm(offsets[1], axis=-1))[:, None],
        *offsets,
    )
    rim = np.maximum(nearest[:, 0], nearest[:, 0] / 2 + nearest[:, 1] * np.sqrt(3) / 2)
    return np.where(rim > 0.0085, 0.55, 1.0)


# Factor of brightness from two coordinates along the surface, in metres.
PATTERNS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "flat": lambda a, b: np.ones_like(a),
    "wood": _wood,
    "checker": _checker(0.015, 0.45),
    "stripes": _stripes,
    "noise": _noise,
    "hex": _hexagons,
    "tiles": _checker(0.25, 0.07),
    "weave": _checker(0.08, 0.15),
}
OBJECT_TEXTURES = ("flat", "wood", "checker", "stripes", "noise", "hex")


class Shader:
    """Turns hits of rays into colours.

    Colours come from the model's `geom_rgba`, patterns from `textures`, which is by geom number;
    `lamp_color` (3,) and `sun_direction` (3,) unit, world frame, may be changed at any time.
    `reset` restores the last three.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Plain light and the textures of table, floor and wall."""
        self.textures = {self._model.geom(name).id: t for name, t in _SURROUNDINGS.items()}
        self.lamp_color = np.ones(3)
        self.sun_direction = SUN_DIRECTION

    def shade(
        self,
        data: mujoco.MjData,
        geom: np.ndarray,
        normals: np.ndarray,
        rays: np.ndarray,
        points: np.ndarray,
    ) -> np.ndarray:
        """Colours (N, 3) uint8 of N hits.

        Args:
            data: the scene, with up-to-date kinematics.
            geom: (N,) numbers of the geoms hit.
            normals: (N, 3) unit surface normals, world frame.
            rays: (N, 3) unit directions, world frame.
            points: (N, 3) metres, world frame.
        """
        brightness = np.abs(np.einsum("ij,ij->i", normals, rays))
        brightness *= HEADLIGHT
        brightness += AMBIENT
        brightness += SUN * np.clip(normals @ self.sun_direction, 0, 1)
        tint = self._tint(brightness)
        for number, texture in self.textures.items():
            hits = np.flatnonzero(geom == number)
            if len(hits):
                along = self._surface_coordinates(data, number, points[hits], normals[hits])
                brightness[hits] *= PATTERNS[texture](*along)
        color = (255 * self._model.geom_rgba[:, :3])[geom]
        color *= brightness[:, None]
        if tint is not None:
            color *= tint
        return np.minimum(color, 255, out=color).astype(np.uint8)

    def _tint(self, brightness: np.ndarray) -> np.ndarray | None:
        """(N, 3) that coloured lamps make of `brightness` (N,); None for white ones. What comes
        from everywhere stays white."""
        if (self.lamp_color == 1).all():
            return None
        lamps = (brightness - AMBIENT)[:, None] * self.lamp_color
        return (AMBIENT + lamps) / brightness[:, None]

    def _surface_coordinates(
        self, data: mujoco.MjData, number: int, points: np.ndarray, normals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Two coordinates per point; on a moving body they move with it."""
        if self._model.geom_bodyid[number] != 0:
            matrix = data.geom_xmat[number].reshape(3, 3)
            points = (points - data.geom_xpos[number]) @ matrix
            normals = normals @ matrix
        axis = np.abs(normals).argmax(axis=1)
        first = np.where(axis == 0, points[:, 1], points[:, 0])
        second = np.where(axis == 2, points[:, 1], points[:, 2])
        return first, second
