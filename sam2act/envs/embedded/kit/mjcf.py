"""Text of MuJoCo models: elements, shapes and their collision classes.

Shapes belong to one of four classes, declared in `DEFAULTS`: `robot` and `pad` (the finger tips)
collide with objects, `object` collides with everything, `visual` with nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np

HIDDEN_GROUP, SENSOR_GROUP = 3, 4  # of geoms that cameras do not see

Vector = Sequence[float] | np.ndarray
Color = Sequence[float]

# A body is culled by a bounding volume made of its collision shapes, so that purely visual ones
# would vanish from ray-cast images; a contact bit that no other shape tests keeps them.
DEFAULTS = """
<default>
  <default class="robot"><geom contype="2" conaffinity="1" mass="0" friction=".5"/></default>
  <default class="pad"><geom contype="2" conaffinity="1" mass="0" friction="2 .05 .001"
    condim="4" solref=".004 1" solimp=".95 .99 .001"/></default>
  <default class="object"><geom contype="1" conaffinity="3" condim="4" friction="1 .01 .001"
    solref=".006 1"/></default>
  <default class="visual"><geom contype="8" conaffinity="0" mass="0"/></default>
</default>
"""


@dataclass(frozen=True)
class Fragment:
    """What a task adds to the workspace: bodies, constraints, contact exclusions, meshes."""

    bodies: str
    equalities: str = ""
    exclusions: str = ""
    assets: str = ""

    def __add__(self, other: Fragment) -> Fragment:
        return Fragment(
            self.bodies + other.bodies,
            self.equalities + other.equalities,
            self.exclusions + other.exclusions,
            self.assets + other.assets,
        )


def element(tag: str, *children: str, **attributes: object) -> str:
    """One XML element; attributes that are None are left out, `class_` becomes `class`."""
    text = "".join(
        f" {name.rstrip('_')}={quoteattr(_format(value))}"
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{text}>{''.join(children)}</{tag}>"


def _format(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    return " ".join(f"{number:.9g}" for number in np.atleast_1d(np.asarray(value, float)))


def shape(kind: str, size: Vector | float, color: Color, **options: object) -> str:
    """A geom of `kind` (box, cylinder, capsule, sphere, ellipsoid).

    Args:
        kind: MuJoCo's name of the primitive.
        size: half extents in metres, as MuJoCo wants them for `kind`.
        color: red, green, blue in [0, 1].
        options: further attributes: `pos`, `euler` (radians), `fromto`, `name`, `class_` (default
            object), `density`, `mass`, `friction`, ...
    """
    options.setdefault("class_", "object")
    return element("geom", type=kind, size=size, rgba=[*color, 1.0], **options)


def box(half: Vector, color: Color, **options: object) -> str:
    """A box of half extents `half` (3,) in metres; see `shape` for the options."""
    return shape("box", half, color, **options)


def cylinder(radius: float, half_height: float, color: Color, **options: object) -> str:
    """An upright cylinder, sizes in metres; see `shape` for the options."""
    return shape("cylinder", (radius, half_height), color, **options)


def capsule(start: Vector, stop: Vector, radius: float, color: Color, **options: object) -> str:
    """A capsule between two points, sizes in metres; see `shape` for the options."""
    return shape("capsule", radius, color, fromto=[*start, *stop], **options)


def body(name: str, *children: str, pos: Vector = (0, 0, 0), **options: object) -> str:
    """A body that stays where it is put unless it has a joint; `pos` in metres."""
    return element("body", *children, name=name, pos=pos, **options)


def free_body(name: str, *children: str, pos: Vector = (0, 0, 0)) -> str:
    """A body that moves freely."""
    return body(name, element("freejoint", name=f"{name}_free"), *children, pos=pos)


def grasp_weld(name: str) -> str:
    """The constraint that holds body `name` in the hand; inactive until it is grasped."""
    return element(
        "weld",
        name=f"grasp_{name}",
        body1="hand",
        body2=name,
        active=False,
        solref=(0.004, 1),
        solimp=(0.98, 0.999, 0.001),
    )
