"""RLBench's meat_off_grill: put the chicken or the steak from the grill onto the table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sam2act.envs.base import BoundaryError
from sam2act.envs.embedded.kit.facts import FREE_YAW
from sam2act.envs.embedded.kit.mjcf import (
    Fragment,
    body,
    box,
    capsule,
    cylinder,
    free_body,
    grasp_weld,
    shape,
)
from sam2act.envs.embedded.kit.parts import METAL
from sam2act.envs.embedded.kit.placing import WORKSPACE_CENTER, WORKSPACE_HALF, spot_in_plane
from sam2act.envs.embedded.kit.scene import Scene, Zone
from sam2act.envs.embedded.kit.task import Task, Waypoint, down, go
from sam2act.envs.embedded.kit.workspace import TABLE_HEIGHT

MEATS = ("chicken", "steak")
GRILL_COLOR, COAL_COLOR = (0.22, 0.24, 0.30), (0.05, 0.045, 0.045)
CHICKEN_COLOR, BONE_COLOR = (0.86, 0.62, 0.36), (0.95, 0.92, 0.84)
STEAK_COLOR, FAT_COLOR, SEAR_COLOR = (0.55, 0.18, 0.14), (0.93, 0.80, 0.72), (0.25, 0.09, 0.06)

# Grill, metres: half extents of the kettle, heights above the table.
_HALF_DEPTH, _HALF_WIDTH, _GRATE = 0.10, 0.14, 0.13
_KETTLE_BOTTOM = 0.075
_BARS = 12
# y and turn of the meats in the grill's frame; the hand's palm passes above the other meat.
_LIES = {"chicken": (-0.055, 0.4), "steak": (0.065, -0.3)}
_SIDE = 0.26  # y in the grill's frame of the place on the table
_ZONE_HALF = (0.09, 0.07)
_BEFORE_ARM = 0.05  # least x of that place, metres: nearer to the arm there is no room
_BOX = np.array([(-_HALF_DEPTH, -_HALF_WIDTH, 0), (_HALF_DEPTH, _SIDE + _ZONE_HALF[1], _GRATE)])

# Half of the height of each piece, metres, at size 1; long axis x, fingers along y.
_THICKNESS = {"chicken": 0.023, "steak": 0.013}
_SOFT = {"density": 300, "friction": (1, 0.02, 0.002)}
_HOVER, _DROP = 0.11, 0.004  # metres above the grasp; above the table at the release


class MeatOffGrill(Task):
    """Variation v: the chicken, the steak."""

    variations = len(MEATS)
    scene_known = False
    graspable = MEATS
    manipulated = MEATS
    object_sizes = (0.75, 1.15)

    def fragment(self) -> Fragment:
        """The grill and both pieces of meat."""
        scale = self.options.object_scale
        welds = "".join(grasp_weld(name) for name in MEATS)
        return Fragment(_grill() + _chicken(scale) + _steak(scale), welds)

    def init_episode(self, scene: Scene, variation: int) -> list[str]:
        """The grill stands anywhere, turned anyhow; the pieces always lie in the same way on it."""
        self.name = MEATS[variation]
        spot, yaw = spot_in_plane(_BOX, WORKSPACE_HALF, FREE_YAW, scene.random)
        scene.place("grill", (*(WORKSPACE_CENTER[:2] + spot), TABLE_HEIGHT), yaw=yaw)
        if scene.to_world("grill", (0, _SIDE, 0))[0] < _BEFORE_ARM:
            raise BoundaryError("the place beside the grill is too close to the arm")
        for name, (place, turn) in _LIES.items():
            above = scene.to_world("grill", (0, place, _GRATE + self._half_height(name)))
            scene.place(name, above, yaw=yaw + turn)
        return [
            f"take the {self.name} off the grill",
            f"move the {self.name} from the grill to the table beside it",
            f"the {self.name} is done, put it down next to the grill",
        ]

    def _half_height(self, name: str) -> float:
        return _THICKNESS[name] * self.options.object_scale

    def success(self, scene: Scene) -> bool:
        """The right piece lies beside the grill, and nothing is grasped."""
        zone = Zone((0, _SIDE, _GRATE / 4), (*_ZONE_HALF, _GRATE / 4), "grill")
        return scene.is_inside(self.name, zone) and scene.holds_nothing

    def waypoints(self, scene: Scene) -> Iterator[Waypoint]:
        """Five keyframes."""
        grasp = scene.position(self.name)
        turned = down(scene.yaw(self.name))
        rest = scene.to_world("grill", (0, _SIDE, self._half_height(self.name) + _DROP))
        aside = down(scene.yaw("grill"))
        yield go(grasp + (0, 0, _HOVER), turned, collide=False)
        yield go(grasp, turned, grip=True)
        yield go(grasp + (0, 0, _HOVER), turned, grip=True)
        yield go((*rest[:2], grasp[2] + _HOVER), aside, grip=True)
        yield go(rest, aside)


def _grill() -> str:
    """A kettle on four legs with a grate; origin on the table below its middle."""
    middle = (_KETTLE_BOTTOM + _GRATE) / 2
    kettle = (_HALF_DEPTH, _HALF_WIDTH, (_GRATE - _KETTLE_BOTTOM) / 2)
    coal = (_HALF_DEPTH - 0.008, _HALF_WIDTH - 0.008, 0.0004)
    bar = (_HALF_DEPTH - 0.008, 0.0025, 0.0015)
    bars = [
        box(bar, METAL, pos=(0, y, _GRATE), class_="visual")
        for y in np.linspace(-1, 1, _BARS) * (_HALF_WIDTH - 0.018)
    ]
    rims = [  # a millimetre outside the kettle: no two faces in one plane
        box(half, METAL, pos=(*(place * sign), _GRATE), class_="visual")
        for half, place in (
            ((0.004, _HALF_WIDTH, 0.003), np.array([_HALF_DEPTH - 0.003, 0])),
            ((_HALF_DEPTH, 0.004, 0.003), np.array([0, _HALF_WIDTH - 0.003])),
        )
        for sign in (-1, 1)
    ]
    legs = [
        cylinder(0.007, _KETTLE_BOTTOM / 2, METAL, pos=(x, y, _KETTLE_BOTTOM / 2))
        for x in (-_HALF_DEPTH + 0.02, _HALF_DEPTH - 0.02)
        for y in (-_HALF_WIDTH + 0.02, _HALF_WIDTH - 0.02)
    ]
    # The pieces lie on the flat top of the kettle: on round bars they would roll.
    return body(
        "grill",
        box(kettle, GRILL_COLOR, pos=(0, 0, middle)),
        box(coal, COAL_COLOR, pos=(0, 0, _GRATE), class_="visual"),
        *bars,
        *rims,
        *legs,
        pos=(0, 0, TABLE_HEIGHT),
    )


def _chicken(scale: float) -> str:
    """A drumstick, the bone along +x."""
    half = np.array([0.040, 0.027, _THICKNESS["chicken"]]) * scale
    start, stop = (0.03 * scale, 0, 0), (0.072 * scale, 0, 0)
    # The bone weighs next to nothing, so that the piece lies level on its round belly.
    bone = {"mass": 1e-4, "friction": _SOFT["friction"]}
    knobs = [
        shape("sphere", 0.0085 * scale, BONE_COLOR, pos=(stop[0], y * scale, 0), **bone)
        for y in (-0.005, 0.005)
    ]
    return free_body(
        "chicken",
        shape("ellipsoid", half, CHICKEN_COLOR, **_SOFT),
        capsule(start, stop, 0.0065 * scale, BONE_COLOR, **bone),
        *knobs,
        pos=(0, 0, TABLE_HEIGHT + half[2]),
    )


def _steak(scale: float) -> str:
    """A slice with a strip of fat and marks of the grate."""
    half = np.array([0.040, 0.026, _THICKNESS["steak"]]) * scale
    marks = [
        box(
            (0.003 * scale, half[1] * 0.8, 0.0006),
            SEAR_COLOR,
            pos=(x * scale, 0, half[2]),
            euler=(0, 0, 0.4),
            class_="visual",
        )
        for x in (-0.02, 0, 0.02)
    ]
    fat = (0.6 * half[0], 0.004 * scale, half[2] + 0.0004)
    ends = [
        cylinder(half[1], half[2], STEAK_COLOR, pos=(sign * half[0], 0, 0), class_="visual")
        for sign in (-0.5, 0.5)
    ]
    return free_body(
        "steak",
        box((0.6 * half[0], half[1], half[2]), STEAK_COLOR, **_SOFT),
        *ends,
        box(fat, FAT_COLOR, pos=(0, fat[1] - half[1] - 0.0004, 0), class_="visual"),
        *marks,
        pos=(0, 0, TABLE_HEIGHT + half[2]),
    )
