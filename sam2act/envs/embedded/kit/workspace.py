"""RLBench's workspace - table, floor, wall - and the whole model around a task."""

from __future__ import annotations

from sam2act.envs.embedded.kit.mjcf import DEFAULTS, Fragment, box, element
from sam2act.envs.embedded.robot import panda

TABLE_HEIGHT = 0.750  # metres
TIMESTEP = 0.0025  # seconds
FRAME_SECONDS = 0.05
STEPS_PER_FRAME = round(FRAME_SECONDS / TIMESTEP)
TABLE_COLOR, FLOOR_COLOR, WALL_COLOR = (0.80, 0.65, 0.34), (0.86, 0.84, 0.80), (0.09, 0.23, 0.25)
TABLE_GEOMS = ("table", "base_table")
WALL_GEOMS = ("wall", "wall_front", "wall_left", "wall_right")
_ROOM_HALF, _WALL_HALF_HEIGHT = 2.51, 1.6  # metres


def model_text(task: Fragment) -> str:
    """The MJCF document of workspace, robot and `task`."""
    return element(
        "mujoco",
        element("compiler", angle="radian", autolimits=True),
        element(
            "option", timestep=TIMESTEP, integrator="implicitfast", cone="elliptic", impratio=10
        ),
        element("size", memory="20M"),
        DEFAULTS,
        element("asset", task.assets),
        element("worldbody", _surroundings(), panda.base_plate(), panda.robot_body(), task.bodies),
        element("actuator", panda.actuators()),
        element("equality", task.equalities),
        element("contact", panda.exclusions(), task.exclusions),
        model="sam2act",
    )


def _surroundings() -> str:
    """Floor, walls and table; the floor is geom 0, which masks call background."""
    top = TABLE_HEIGHT - 0.02
    return (
        box((3, 3, 0.01), FLOOR_COLOR, pos=(0, 0, -0.01), name="floor", class_="visual")
        + "".join(_wall(name) for name in WALL_GEOMS)
        + box((0.60, 0.5525, 0.02), TABLE_COLOR, pos=(0.5, 0, top), name="table")
        + box(
            (0.20, 0.5525, 0.02),
            TABLE_COLOR,
            pos=(-0.30, 0, top - 0.0005),
            name="base_table",
            class_="visual",
        )
    )


def _wall(name: str) -> str:
    thin, wide, high = 0.01, _ROOM_HALF + 0.02, _WALL_HALF_HEIGHT
    distance = _ROOM_HALF + thin
    sides = {
        "wall": (-distance, 0),
        "wall_front": (distance, 0),
        "wall_left": (0, distance),
        "wall_right": (0, -distance),
    }
    x, y = sides[name]
    half = (thin, wide, high) if x else (wide, thin, high)
    return box(half, WALL_COLOR, pos=(x, y, high), name=name, class_="visual")
