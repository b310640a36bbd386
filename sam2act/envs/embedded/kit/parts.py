"""Things that several tasks share: button, cube, patch, chest of drawers, open boxes."""

from __future__ import annotations

import numpy as np

from sam2act.envs.embedded.kit.mjcf import Color, body, box, capsule, cylinder, element, free_body
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

# RLBench's colours, in its order.
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (1.0, 0.0, 0.0),
    "maroon": (0.5, 0.0, 0.0),
    "lime": (0.0, 1.0, 0.0),
    "green": (0.0, 0.5, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "navy": (0.0, 0.0, 0.5),
    "yellow": (1.0, 1.0, 0.0),
    "cyan": (0.0, 1.0, 1.0),
    "magenta": (1.0, 0.0, 1.0),
    "silver": (0.75, 0.75, 0.75),
    "gray": (0.5, 0.5, 0.5),
    "orange": (1.0, 0.5, 0.0),
    "olive": (0.5, 0.5, 0.0),
    "purple": (0.5, 0.0, 0.5),
    "teal": (0.0, 0.5, 0.5),
    "azure": (0.0, 0.5, 1.0),
    "violet": (0.5, 0.0, 1.0),
    "rose": (1.0, 0.0, 0.5),
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}

CUBE_HALF = 0.02
CUBE_COLOR = (0.25, 0.55, 0.95)
CABINET_COLOR, DRAWER_COLOR, DRAWER_INSIDE = (
    (0.72, 0.62, 0.48),
    (0.66, 0.56, 0.42),
    (0.5, 0.43, 0.33),
)
METAL = (0.65, 0.65, 0.68)

PLATE_HEIGHT = 0.034  # of the button's plate centre above the table, metres
BUTTON_PRESS_HEIGHT = TABLE_HEIGHT + 0.028  # of the closed fingertips at the end of a press


def button(name: str = "button", color: Color = (0, 0, 1), plate: Color = (1, 0, 0)) -> str:
    """A push button on the table: fixed body `name`, plate body `<name>_plate`, slide
    `<name>_joint` that grows when pressed, 0 to 8 mm, and springs back."""
    return body(
        name,
        box((0.032, 0.032, 0.012), color, pos=(0, 0, 0.012), name=f"{name}_base"),
        cylinder(0.021, 0.004, (0.75, 0, 0), pos=(0, 0, 0.026), class_="visual"),
        body(
            f"{name}_plate",
            element("inertial", pos=(0, 0, 0), mass=0.05, diaginertia=(1e-4, 1e-4, 1e-4)),
            element(
                "joint",
                name=f"{name}_joint",
                type="slide",
                axis=(0, 0, -1),
                range=(0, 0.008),
                stiffness=60,
                damping=2,
                armature=0.02,
                springref=-0.01,
            ),
            cylinder(0.018, 0.006, plate, name=f"{name}_plate_geom"),
            pos=(0, 0, PLATE_HEIGHT),
        ),
        pos=(0, 0, TABLE_HEIGHT),
    )


def cube(name: str, color: Color = CUBE_COLOR, half: float = CUBE_HALF) -> str:
    """A graspable cube, free to move; origin at its centre."""
    return free_body(
        name,
        box((half, half, half), color, density=300, friction=(1, 0.02, 0.002), name=f"{name}_geom"),
        pos=(0, 0, TABLE_HEIGHT + half),
    )


def patch(name: str, half: float = 0.05, color: Color = (0.85, 0.10, 0.10)) -> str:
    """A coloured square on the table, only seen; a fixed body."""
    return body(
        name,
        box((half, half, 0.0008), color, pos=(0, 0, 0.0008), class_="visual"),
        pos=(0, 0, TABLE_HEIGHT),
    )


# ------------------------------------------------------------------------ chest of drawers
DRAWERS = ("bottom", "middle", "top")
DRAWER_HEIGHTS = {"bottom": 0.9155, "middle": 1.0356, "top": 1.1557}  # of the handles, metres
DRAWER_TRAVEL = 0.25  # metres
HANDLE_GRASP = 0.024  # metres from the front to the fingertips when they hold a handle
CABINET_HALF_WIDTH, CABINET_DEPTH = 0.22, 0.38
CABINET_TOP = 0.4725  # above the table, metres
_LEG_HEIGHT, _LID, _WALL = 0.094, 0.012, 0.01  # metres; walls: half thickness


def drawer_unit(name: str = "cabinet") -> str:
    """A cabinet with three drawers `drawer_<place>`, slides `drawer_joint_<place>` (0 to 0.25 m).

    Fixed body; the origin lies at table height in the plane of the drawer fronts, in the middle of
    the width; drawers open along +y.
    """
    width, depth, wall = CABINET_HALF_WIDTH, CABINET_DEPTH, _WALL
    side_half = (CABINET_TOP - _LEG_HEIGHT - _LID) / 2
    middle = _LEG_HEIGHT + side_half
    # No two walls share a face: which of them a camera sees would be a matter of rounding.
    walls = [
        box((wall, depth / 2, side_half), CABINET_COLOR, pos=(x, -depth / 2, middle))
        for x in (wall - width, width - wall)
    ]
    inside = width - 2 * wall
    walls += [
        box((inside, 0.005, side_half), CABINET_COLOR, pos=(0, 0.005 - depth, middle)),
        box(
            (inside, depth / 2 - 0.005, 0.006),
            CABINET_COLOR,
            pos=(0, 0.005 - depth / 2, _LEG_HEIGHT + 0.006),
        ),
        box(
            (width, depth / 2, _LID / 2), CABINET_COLOR, pos=(0, -depth / 2, CABINET_TOP - _LID / 2)
        ),
    ]
    legs = [
        cylinder(0.008, _LEG_HEIGHT / 2, METAL, pos=(x, y, _LEG_HEIGHT / 2))
        for x in (-(width - 0.02), width - 0.02)
        for y in (-0.02, 0.02 - depth)
    ]
    drawers = [_drawer(place) for place in DRAWERS]
    return body(name, *walls, *legs, *drawers, pos=(0, 0, TABLE_HEIGHT))


def _drawer(place: str) -> str:
    width = CABINET_HALF_WIDTH
    sides = [
        box((0.004, 0.175, 0.030), DRAWER_INSIDE, pos=(x, -0.19, -0.02), class_="visual")
        for x in (-(width - 0.028), width - 0.028)
    ]
    posts = [
        cylinder(0.005, 0.017, METAL, pos=(x, 0.016, 0), euler=(np.pi / 2, 0, 0), class_="visual")
        for x in (-0.05, 0.05)
    ]
    return body(
        f"drawer_{place}",
        element("inertial", pos=(0, -0.15, 0), mass=0.8, diaginertia=(0.01, 0.01, 0.01)),
        element(
            "joint",
            name=f"drawer_joint_{place}",
            type="slide",
            axis=(0, 1, 0),
            range=(0, DRAWER_TRAVEL),
            damping=8,
            frictionloss=1.5,
            armature=0.1,
        ),
        box((width - 0.022, 0.008, 0.054), DRAWER_COLOR, pos=(0, -0.008, 0)),
        box((width - 0.03, 0.175, 0.004), DRAWER_INSIDE, pos=(0, -0.19, -0.05)),
        *sides,
        *posts,
        capsule(
            (-0.055, 0.034, 0),
            (0.055, 0.034, 0),
            0.007,
            (0.72, 0.72, 0.75),
            friction=(2, 0.05, 0.001),
            name=f"handle_{place}",
        ),
        pos=(0, 0, DRAWER_HEIGHTS[place] - TABLE_HEIGHT),
    )
