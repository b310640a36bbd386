"""Distractors: objects that the task does not need."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.kit.mjcf import Color, Fragment, Vector, free_body, shape
from sam2act.envs.embedded.kit.scene import Area, Scene
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

MOST = 3
CLEARANCE = 0.125  # metres from every waypoint, seen from above; half of it where there is no room
_AREA = Area((0.22, 0.0), (0.30, 0.42))
_TRIES = 200
_WAITING_HEIGHT = 3.0  # metres, until a place is found
_RADIUS = 0.05  # metres around a place that must be free of shapes above it
_ANGLES = 2 * np.pi * np.arange(8) / 8
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_PROBES = np.concatenate([np.zeros((1, 2)), _RADIUS * _CIRCLE])

# Kind and half extents in metres; all stand on the table.
SHAPES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("box", (0.02, 0.02, 0.02)),
    ("box", (0.03, 0.015, 0.01)),
    ("box", (0.015, 0.015, 0.03)),
    ("box", (0.025, 0.025, 0.008)),
    ("cylinder", (0.02, 0.02)),
    ("cylinder", (0.015, 0.03)),
    ("cylinder", (0.03, 0.008)),
    ("cylinder", (0.012, 0.012)),
    ("sphere", (0.02,)),
    ("sphere", (0.028,)),
    ("ellipsoid", (0.03, 0.02, 0.015)),
    ("ellipsoid", (0.018, 0.018, 0.026)),
    # Those of the YCB set that are nearly a box, a can or a ball: coffee can, boxes of crackers,
    # sugar, pudding and gelatin, cans of soup, tuna and meat, mustard, apple, lemon, peach, orange,
    # plum, wooden block, softball, baseball, tennis ball, racquetball, golf ball, brick, cube.
    ("cylinder", (0.051, 0.070)),
    ("box", (0.036, 0.082, 0.107)),
    ("box", (0.0225, 0.046, 0.088)),
    ("box", (0.019, 0.045, 0.0565)),
    ("box", (0.015, 0.0365, 0.0445)),
    ("cylinder", (0.034, 0.051)),
    ("cylinder", (0.0425, 0.017)),
    ("box", (0.0285, 0.042, 0.051)),
    ("box", (0.029, 0.048, 0.0955)),
    ("sphere", (0.0375,)),
    ("ellipsoid", (0.034, 0.027, 0.027)),
    ("sphere", (0.0295,)),
    ("sphere", (0.0365,)),
    ("sphere", (0.026,)),
    ("box", (0.0425, 0.0425, 0.100)),
    ("sphere", (0.048,)),
    ("sphere", (0.0375,)),
    ("sphere", (0.0325,)),
    ("sphere", (0.028,)),
    ("sphere", (0.0215,)),
    ("box", (0.025, 0.0375, 0.025)),
    ("box", (0.0285, 0.0285, 0.0285)),
)
_LOW = 12  # the first shapes, low enough to reach over
YCB = tuple(range(_LOW, len(SHAPES)))


def choose(random: np.random.Generator, without: Sequence[str] = ()) -> tuple[int, ...]:
    """One to three different low entries of `SHAPES`, none of a kind in `without`."""
    count = int(random.integers(1, MOST + 1))
    allowed = [number for number in range(_LOW) if SHAPES[number][0] not in without]
    return tuple(int(number) for number in random.choice(allowed, count, replace=False))


def fragment(numbers: Sequence[int]) -> Fragment:
    """Free bodies `added0`, `added1`, ... with the chosen shapes."""
    bodies = []
    for index, number in enumerate(numbers):
        kind, size = SHAPES[number]
        geom = shape(kind, size, (0.5, 0.5, 0.5), density=300, name=f"added{index}_geom")
        waiting = (0, 0, _WAITING_HEIGHT + index)
        bodies.append(free_body(f"added{index}", geom, pos=waiting))
    return Fragment("".join(bodies))


def place(
    scene: Scene,
    numbers: Sequence[int],
    waypoints: np.ndarray,
    colors: Sequence[Color],
    random: np.random.Generator,
) -> None:
    """Put the distractors where they touch nothing and do not hinder the script.

    Args:
        scene: after the task has placed its own things.
        numbers: entries of `SHAPES`.
        waypoints: (N, 3) metres, positions that must stay clear.
        colors: rgb in [0, 1], those that may be used.
        random: source of positions and colours.

    Raises:
        BoundaryError: no free place was found.
    """
    for index, number in enumerate(numbers):
        name = f"added{index}"
        height = TABLE_HEIGHT + half_extents(number)[2]
        scene.set_color(name, colors[int(random.integers(len(colors)))])
        clearances = np.linspace(CLEARANCE, CLEARANCE / 2, _TRIES)
        if not any(_try(scene, name, height, waypoints, c, random) for c in clearances):
            raise BoundaryError(f"{name}: no place away from waypoints and other things")


def _try(
    scene: Scene,
    name: str,
    height: float,
    waypoints: np.ndarray,
    clearance: float,
    random: np.random.Generator,
) -> bool:
    """Put a distractor to a random place; whether it may stay there."""
    center, half = np.asarray(_AREA.center), np.asarray(_AREA.half)
    spot = random.uniform(center - half, center + half)
    if np.linalg.norm(waypoints[:, :2] - spot, axis=1).min() < clearance:
        return False
    if not all(_is_open(scene, spot + offset) for offset in _PROBES):
        return False
    return _touches_nothing(scene, name, [*spot, height], float(random.uniform(-np.pi, np.pi)))


def half_extents(number: int) -> np.ndarray:
    """(3,) metres of entry `number` of `SHAPES`."""
    kind, size = SHAPES[number]
    if kind == "sphere":
        return np.full(3, size[0])
    return np.array([size[0], size[0], size[1]] if kind == "cylinder" else size)


def stands_free(scene: Scene, name: str, number: int, spot: np.ndarray, yaw: float) -> bool:
    """Put a distractor to `spot` (2,) metres, world frame; whether it touches nothing there."""
    return _touches_nothing(scene, name, [*spot, TABLE_HEIGHT + half_extents(number)[2]], yaw)


def remove(scene: Scene, name: str) -> None:
    """Put a distractor onto the floor, far from the table."""
    number = int(name.removeprefix("added"))
    scene.place(name, (-2.0, -2.0 + 0.5 * number, 0.2))


def _touches_nothing(scene: Scene, name: str, position: Vector, yaw: float) -> bool:
    scene.place(name, position, yaw=yaw)
    mujoco.mj_forward(scene.model, scene.data)
    number = scene.model.body(name).id
    pairs = scene.model.geom_bodyid[scene.data.contact.geom[: scene.data.ncon]].tolist()
    return all(min(pair) == 0 for pair in pairs if number in pair)  # the table may be touched


def _is_open(scene: Scene, spot: np.ndarray) -> bool:
    """Whether the table at `spot` (2,) is covered by nothing, be it only seen or high above."""
    hit = np.zeros(1, np.int32)
    origin = np.array([*spot, TABLE_HEIGHT + 0.6])
    down, normal = np.array([0.0, 0.0, -1.0]), np.zeros(3)
    mujoco.mj_ray(scene.model, scene.data, origin, down, None, 1, -1, hit, normal)
    return bool(scene.model.geom_bodyid[hit[0]] == 0)
