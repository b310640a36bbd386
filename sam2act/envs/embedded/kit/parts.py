"""What several tasks share: RLBench's colours, names of drawers, a push button."""

from __future__ import annotations

from sam2act.envs.embedded.kit.mjcf import Color, body, box, cylinder, element
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

METAL = (0.65, 0.65, 0.68)

PLATE_HEIGHT = 0.034  # of the button's plate centre above the table, metres
BUTTON_PRESS_HEIGHT = TABLE_HEIGHT + 0.028  # of the closed fingertips at the end of a press


def spring_slide(name: str, travel: float) -> str:
    """Mass and joint of a part that is pushed in and springs back.

    Args:
        name: of the slide, which grows when pressed.
        travel: metres.
    """
    inertia = element("inertial", pos=(0, 0, 0), mass=0.05, diaginertia=(1e-4, 1e-4, 1e-4))
    return inertia + element(
        "joint",
        name=name,
        type="slide",
        axis=(0, 0, -1),
        range=(0, travel),
        stiffness=60,
        damping=2,
        armature=0.02,
        springref=-0.01,
    )


def button(name: str = "button", color: Color = (0, 0, 1), plate: Color = (1, 0, 0)) -> str:
    """A push button on the table: fixed body `name`, plate body `<name>_plate`, slide
    `<name>_joint` that grows when pressed, 0 to 8 mm, and springs back."""
    return body(
        name,
        box((0.032, 0.032, 0.012), color, pos=(0, 0, 0.012), name=f"{name}_base"),
        cylinder(0.021, 0.004, (0.75, 0, 0), pos=(0, 0, 0.026), class_="visual"),
        body(
            f"{name}_plate",
            spring_slide(f"{name}_joint", 0.008),
            cylinder(0.018, 0.006, plate, name=f"{name}_plate_geom"),
            pos=(0, 0, PLATE_HEIGHT),
        ),
        pos=(0, 0, TABLE_HEIGHT),
    )


# Of every chest, from below.
DRAWERS = ("bottom", "middle", "top")
